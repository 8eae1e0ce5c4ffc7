/* The description's texts in Russian: by operation, tag and event. What is missing here is shown as the description has it. */

const operations = {
	generate: 'Создать трек', create_job: 'Создать трек', list_jobs: 'Список заданий', get_job: 'Показать задание', cancel_job: 'Отменить задание',
	list_tracks: 'Список треков', get_track: 'Показать трек', update_track: 'Изменить трек', delete_track: 'Удалить трек',
	create_webhook: 'Создать вебхук', list_webhooks: 'Список вебхуков', get_webhook: 'Показать вебхук', update_webhook: 'Изменить вебхук', delete_webhook: 'Удалить вебхук',
	rotate_webhook_secret: 'Выдать вебхуку новый секрет', test_webhook: 'Отправить вебхуку пример', enable_webhook: 'Включить вебхук', disable_webhook: 'Остановить вебхук',
	replay_webhook: 'Отправить вебхуку всё за период снова', get_webhook_stats: 'Как доставлялось вебхуку',
	list_deliveries: 'Список доставок', get_delivery: 'Показать доставку', replay_delivery: 'Доставить снова',
	poll_events: 'Список событий', list_events: 'Список событий', list_event_types: 'Список типов событий',
	create_api_key: 'Создать ключ', list_api_keys: 'Список ключей', get_api_key: 'Показать ключ', rotate_api_key: 'Заменить ключ', revoke_api_key: 'Отозвать ключ', list_scopes: 'Список прав',
	get_me: 'Показать учётную запись', get_usage: 'Использование по времени', get_usage_top: 'Что вызывали чаще всего',
	create_distribution: 'Отправить треки на площадки', list_distributions: 'Список отправок', get_distribution: 'Показать отправку',
	get_distribution_timeline: 'История отправки', get_distribution_stats: 'Как слушали отправку', get_stats: 'Как слушали все отправки', check_distribution: 'Проверить релиз', update_distribution: 'Изменить отправку', submit_distribution: 'Подать отправку', cancel_distribution: 'Отменить отправку', takedown_distribution: 'Снять с площадок',
	list_partners: 'Партнёры с учётными записями', authorize_partner: 'Войти у партнёра', partner_authorized: 'Завершить вход у партнёра', get_partner_account: 'Показать учётную запись у партнёра', disconnect_partner: 'Отключиться от партнёра',
	get_package: 'Показать пакет', get_cover: 'Показать обложку', confirm_distribution: 'Подтвердить размещение вручную',
	get_openapi: 'Показать это описание', provider_callback: 'Обратный вызов провайдера', partner_callback: 'Обратный вызов партнёра', get_health: 'Состояние сервиса', get_metrics: 'Метрики',
};

const tags = {
	Generation: 'Генерация', Tracks: 'Треки', Webhooks: 'Вебхуки', Deliveries: 'Доставки', Events: 'События', 'API keys': 'API-ключи', Usage: 'Использование',
	Distribution: 'Дистрибуция', About: 'Об этом API', Callbacks: 'Обратные вызовы', Providers: 'Провайдеры', Other: 'Прочее',
};

const events = {
	'generation.started': 'Генерация началась', 'generation.completed': 'Генерация завершена', 'generation.failed': 'Генерация не удалась',
	'track.created': 'Трек создан', 'track.updated': 'Трек изменён', 'track.deleted': 'Трек удалён',
	'payment.succeeded': 'Платёж прошёл', 'payment.failed': 'Платёж не прошёл', 'subscription.created': 'Подписка оформлена', 'subscription.cancelled': 'Подписка отменена',
	'distribution.submitted': 'Отправка принята', 'distribution.processing': 'Площадка обрабатывает', 'distribution.live': 'Релиз доступен слушателям', 'distribution.failed': 'Отправка не удалась', 'distribution.taken_down': 'Релиз снят',
	'webhook.disabled': 'Вебхук отключён', 'webhook.test': 'Проверочное событие', 'api_key.leaked': 'Ключ найден в открытом доступе и отозван',
};

const named = (kind, texts) => Object.entries(texts).map(([name, text]) => [`${kind}.${name}`, text]);

export const ru = Object.fromEntries([...named('operation', operations), ...named('tag', tags), ...named('event', events),
	['info', 'Создавайте музыку, узнавайте о событиях через вебхуки и отправляйте треки на площадки.']]);
