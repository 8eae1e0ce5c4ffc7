/* What the page itself says, in the languages it speaks. The description's own texts come with it. */

const en = {
	skip: 'Skip to content', menu: 'Menu', search: 'Search', searchHint: 'Search (press /)', version: 'Version', theme: 'Light or dark', contents: 'Contents', loading: 'Loading…',
	failed: 'The description of the API could not be loaded', again: 'Try again', overview: 'Overview', start: 'Getting started', authentication: 'Authentication', limits: 'Limits',
	errors: 'Errors', pages: 'Lists and pages', retries: 'Safe retries', webhooks: 'Webhooks', operations: 'Operations', required: 'required', parameters: 'Parameters', body: 'Body (JSON)', fieldsOf: 'Fields of',
	answers: 'Answers', noBody: 'without a body', tryIt: 'Try it', apiKey: 'API key', keyStays: 'It stays in this page until you leave it, and is stored nowhere.', send: 'Send', sending: 'Sending…', isReal: 'Sends a real request.',
	answerBody: 'Body of the answer', answerHeaders: 'Headers of the answer', noAnswer: 'No answer:', listen: 'Listen to the track', copy: 'Copy', copied: 'Copied', samples: 'Code samples', example: 'Example', default: 'default',
	characters: 'characters', items: 'items', scope: 'scope', cost: 'cost', tokens: 'tokens', noKey: 'no key needed', deprecated: 'deprecated', nothing: 'Nothing found.', limitLeft: '{policy}: {left} of {of} left, whole again in {seconds} s',
	field: 'Field', meaning: 'Meaning', event: 'Event', header: 'Header', status: 'Status', verify: 'Verify the signature', eventBody: 'What is sent',
	startText: 'Ask for a key, then generate music: the answer names a job; follow it until it is completed, and fetch the track. Or let a webhook tell you.\n\nThe description this page is drawn from is at `{document}`, in OpenAPI 3.1.',
	authenticationText: 'Send your key with each request, as `Authorization: Bearer mvai_…` or `X-API-Key: mvai_…`. A key may be held to scopes, networks and a date of expiry; an answer of 403 names the scope that is missing.\n\nKeys that demand it need signed requests: `X-Timestamp` has the seconds since 1970, `X-Signature` is `v1=` and the HMAC-SHA256, in hex, by the text of the key over five lines: `v1`, the method, the path with its query, the timestamp, and the SHA-256 of the body in hex. Each signature is good once.',
	limitsText: 'Every answer to a key says how much is left: `RateLimit-Policy` names the limit, `RateLimit` what remains (`r`) and in how many seconds it is whole again (`t`). After a 429 wait for `Retry-After` seconds. Operations cost different numbers of tokens; each names its own.',
	errorsText: 'Errors are problem documents after RFC 9457. `type` tells them apart, `detail` says what was wrong and what to do, `errors` lists the fields concerned. Quote the `X-Request-Id` when you ask for help.',
	pagesText: 'Lists return `data` and `next_cursor`. Pass it on as `cursor` for the next page, until it is null. A cursor is good for the list, the filters and the user it was made for.',
	retriesText: 'Send an `Idempotency-Key` with a POST: when the answer got lost, the same request again returns the first answer and does nothing twice. The same key with another body is refused.',
	webhooksText: 'Events are POSTed to your webhooks, signed after Standard Webhooks. Answer with 2xx; anything else is tried again. The same event always has the same `webhook-id`: keep it to recognise repetitions.',
};

const ru = {
	skip: 'К содержанию', menu: 'Меню', search: 'Поиск', searchHint: 'Поиск (клавиша /)', version: 'Версия', theme: 'Светлая или тёмная тема', contents: 'Оглавление', loading: 'Загрузка…',
	failed: 'Не удалось загрузить описание API', again: 'Повторить', overview: 'Обзор', start: 'С чего начать', authentication: 'Аутентификация', limits: 'Ограничения',
	errors: 'Ошибки', pages: 'Списки и страницы', retries: 'Безопасные повторы', webhooks: 'Вебхуки', operations: 'Операции', required: 'обязательно', parameters: 'Параметры', body: 'Тело (JSON)', fieldsOf: 'Поля',
	answers: 'Ответы', noBody: 'без тела', tryIt: 'Попробовать', apiKey: 'API-ключ', keyStays: 'Ключ остаётся на этой странице, пока она открыта, и нигде не сохраняется.', send: 'Отправить', sending: 'Отправка…', isReal: 'Отправляет настоящий запрос.',
	answerBody: 'Тело ответа', answerHeaders: 'Заголовки ответа', noAnswer: 'Нет ответа:', listen: 'Послушать трек', copy: 'Копировать', copied: 'Скопировано', samples: 'Примеры кода', example: 'Пример', default: 'по умолчанию',
	characters: 'символов', items: 'элементов', scope: 'право', cost: 'стоимость', tokens: 'токенов', noKey: 'ключ не нужен', deprecated: 'устарело', nothing: 'Ничего не найдено.', limitLeft: '{policy}: осталось {left} из {of}, полностью восстановится через {seconds} с',
	field: 'Поле', meaning: 'Значение', event: 'Событие', header: 'Заголовок', status: 'Статус', verify: 'Проверка подписи', eventBody: 'Что отправляется',
	startText: 'Получите ключ и запустите генерацию: в ответе будет номер задания; следите за ним, пока оно не завершится, и заберите трек. Или пусть об этом сообщит вебхук.\n\nОписание, по которому построена эта страница, лежит в `{document}` в формате OpenAPI 3.1.',
	authenticationText: 'Передавайте ключ с каждым запросом: `Authorization: Bearer mvai_…` или `X-API-Key: mvai_…`. Ключ может быть ограничен правами, сетями и сроком действия; ответ 403 называет недостающее право.\n\nКлючи с таким требованием принимают только подписанные запросы: `X-Timestamp` — секунды с 1970 года, `X-Signature` — `v1=` и HMAC-SHA256 в hex с текстом ключа в качестве секрета от пяти строк: `v1`, метод, путь вместе с запросом, время и SHA-256 тела в hex. Каждая подпись действует один раз.',
	limitsText: 'В каждом ответе на запрос с ключом указано, сколько осталось: `RateLimit-Policy` называет ограничение, `RateLimit` — остаток (`r`) и через сколько секунд он восстановится (`t`). После 429 подождите `Retry-After` секунд. Операции стоят разное число токенов; у каждой указано своё.',
	errorsText: 'Ошибки — это документы по RFC 9457. `type` различает их, `detail` говорит, что не так и что делать, `errors` перечисляет поля. Обращаясь за помощью, укажите `X-Request-Id`.',
	pagesText: 'Списки возвращают `data` и `next_cursor`. Передайте его как `cursor`, чтобы получить следующую страницу, пока он не станет null. Курсор годится только для того списка, тех фильтров и того пользователя, для которых создан.',
	retriesText: 'Передавайте с POST заголовок `Idempotency-Key`: если ответ потерялся, тот же запрос вернёт первый ответ и ничего не сделает дважды. Тот же ключ с другим телом отклоняется.',
	webhooksText: 'События отправляются на ваши вебхуки методом POST и подписаны по Standard Webhooks. Ответьте 2xx; всё остальное повторяется. У одного события всегда один `webhook-id`: запоминайте его, чтобы узнавать повторы.',
};

export const words = { en, ru };

export function translator(language) {
	return (name, values = {}) => (words[language]?.[name] ?? en[name] ?? name).replace(/\{(\w+)\}/g, (match, key) => values[key] ?? match);
}
