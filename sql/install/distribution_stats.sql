-- distribution: how often releases were heard, and what they earned
--
-- A fact is what one source told once: so much of a recording, on a platform,
-- in a territory, in days from one on, in a currency. Two kinds of sources tell
-- of the same streams: reports (of sales, final, paid) and trends (counters
-- that are asked for day by day). The facts keep both; the views count a
-- platform's streams and downloads by the reports wherever they cover the day,
-- and by the trends elsewhere.

create table distribution_facts (
    distribution_id uuid not null,
    user_id         uuid not null,
    track_id        uuid,
    platform        text not null,
    territory       text,
    day             date not null,
    days            int not null default 1 check (days > 0),
    source          text not null,
    report_id       bigint,
    streams         bigint not null default 0,
    downloads       bigint not null default 0,
    likes           bigint not null default 0,
    listeners       bigint not null default 0,
    saves           bigint not null default 0,
    shares          bigint not null default 0,
    revenue         numeric not null default 0,
    currency        text check (currency ~ '^[A-Z]{3}$'),
    constraint distribution_facts_once unique nulls not distinct (distribution_id, platform, day, source, report_id, track_id, territory, currency, days)
);
create index distribution_facts_user_id_day_idx on distribution_facts (user_id, day);
create index distribution_facts_report_id_idx on distribution_facts (report_id) where report_id is not null;
create index distribution_facts_covered_idx on distribution_facts (distribution_id, platform, day) where report_id is not null;
create index distribution_facts_day_idx on distribution_facts using brin (day);
comment on table distribution_facts is 'What partners told of how releases are heard and sold: one row what one source told once';
comment on column distribution_facts.track_id is 'NULL for the release as a whole';
comment on column distribution_facts.territory is 'A country, or as the partner calls it; NULL when it was not said';
comment on column distribution_facts.day is 'The first day it is about';
comment on column distribution_facts.days is 'How many days it is about: a monthly report is not split into days that nobody counted';
comment on column distribution_facts.source is 'The partner that told';
comment on column distribution_facts.report_id is 'The sales report it is from; NULL for counters';
comment on column distribution_facts.listeners is 'Different ones within the days; those of several days cannot be added up';
comment on column distribution_facts.revenue is 'What the partner says is ours, not what listeners paid; in currency';

-- No foreign keys: they would be asked once a fact. Who writes facts of a release
-- holds its row, and these triggers go after what they are about.
create function _forget_facts() returns trigger
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if tg_table_name = 'distributions' then
        delete from distribution_facts f using gone g where f.distribution_id = g.id;
        update dsr_products p set distribution_id = null, user_id = null, track_id = null from gone g where p.distribution_id = g.id;
    else
        delete from distribution_facts f using gone g where f.report_id = g.id;
    end if;
    return null;
end
$$;
comment on function _forget_facts() is 'Statement trigger: deletes the facts of releases and reports that are deleted';

create trigger forget_facts after delete on distributions referencing old table as gone
    for each statement execute function _forget_facts();
create trigger forget_facts after delete on dsr_reports referencing old table as gone
    for each statement execute function _forget_facts();

-- A trend within the days of a report is told once more by it.
create view counted_facts with (security_invoker = true) as
select f.distribution_id, f.user_id, f.track_id, f.platform, f.territory, f.day, f.days, f.source, f.report_id,
       case when c.by_report then 0 else f.streams end as streams, case when c.by_report then 0 else f.downloads end as downloads,
       f.likes, f.listeners, f.saves, f.shares, f.revenue, f.currency
  from distribution_facts f
 cross join lateral (select f.report_id is null and exists (
           select from distribution_facts r
            where r.distribution_id = f.distribution_id and r.platform = f.platform and r.report_id is not null
              and r.day <= f.day and r.day + r.days > f.day) as by_report) c;
comment on view counted_facts is 'The facts, each stream and download counted once: where a sales report covers the day, counters don''t count';

create view distribution_stats with (security_invoker = true) as
select t.id as target_id, f.distribution_id, f.user_id, f.platform, f.day, max(f.days) as days, sum(f.streams)::bigint as streams,
       sum(f.downloads)::bigint as downloads, sum(f.likes)::bigint as likes, sum(f.listeners)::bigint as listeners,
       sum(f.saves)::bigint as saves, sum(f.shares)::bigint as shares, sum(f.revenue) as revenue, f.currency
  from counted_facts f left join distribution_targets t on t.distribution_id = f.distribution_id and t.platform = f.platform
 group by t.id, f.distribution_id, f.user_id, f.platform, f.day, f.currency;
comment on view distribution_stats is 'How a release is heard on a platform: one row a target, day and currency';

create function _money(amounts jsonb, amount numeric, currency text) returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select case when currency is null or amount is null then amounts
                else amounts || jsonb_build_object(currency, coalesce((amounts ->> currency)::numeric, 0) + amount) end
$$;
comment on function _money(jsonb, numeric, text) is 'The step of sum_money()';

create aggregate sum_money(numeric, text) (sfunc = _money, stype = jsonb, initcond = '{}');
comment on aggregate sum_money(numeric, text) is 'Amounts and their currencies added up: {"EUR": 1.20, "USD": 3.07}';

create view release_stats with (security_invoker = true) as
select f.distribution_id, f.user_id, sum(f.streams)::bigint as streams, sum(f.downloads)::bigint as downloads, sum(f.likes)::bigint as likes,
       sum(f.saves)::bigint as saves, sum(f.shares)::bigint as shares, sum_money(f.revenue, f.currency) as revenue,
       min(f.day) as first_day, max(f.day + f.days - 1) as last_day
  from counted_facts f group by f.distribution_id, f.user_id;
comment on view release_stats is 'Totals of each release; revenue by currency';

create view track_stats with (security_invoker = true) as
select f.track_id, f.user_id, sum(f.streams)::bigint as streams, sum(f.downloads)::bigint as downloads, sum(f.likes)::bigint as likes,
       sum(f.saves)::bigint as saves, sum(f.shares)::bigint as shares, sum_money(f.revenue, f.currency) as revenue,
       min(f.day) as first_day, max(f.day + f.days - 1) as last_day
  from counted_facts f where f.track_id is not null group by f.track_id, f.user_id;
comment on view track_stats is 'Totals of each track over all its releases, where it was told of on its own';

create view platform_stats with (security_invoker = true) as
select f.user_id, f.platform, sum(f.streams)::bigint as streams, sum(f.downloads)::bigint as downloads, sum(f.likes)::bigint as likes,
       sum(f.saves)::bigint as saves, sum(f.shares)::bigint as shares, sum_money(f.revenue, f.currency) as revenue,
       min(f.day) as first_day, max(f.day + f.days - 1) as last_day
  from counted_facts f group by f.user_id, f.platform;
comment on view platform_stats is 'Totals of each user on each platform';

-- What the platform as a whole is measured by; an account that pays is one
-- beyond the free tier.
create view success_metrics with (security_invoker = true) as
with people as (
    select count(*) as accounts, count(*) filter (where a.tier <> 'free') as paying,
           count(*) filter (where a.tier <> 'free' and exists (
               select from api_keys k where k.user_id = a.user_id and k.last_used_at > now() - interval '30 days')) as paying_with_api,
           count(*) filter (where exists (select from distributions d where d.user_id = a.user_id and d.submitted_at is not null)) as distributing
      from accounts a
), calls as (
    select sum(u.calls) filter (where u.day > now() - interval '30 days') as lately, sum(u.calls) filter (where u.day <= now() - interval '30 days') as before
      from api_usage_days u where u.day > now() - interval '60 days'
), webhooks as (
    select sum(w.delivered) as delivered, sum(w.delivered + w.failed) as settled from webhook_success_rate w
), releases as (
    select sum(r.live) as live, sum(r.live + r.failed) as decided from distribution_success_rate r
), heard as (
    select sum(f.streams) as streams, sum(f.downloads) as downloads, sum_money(f.revenue, f.currency) as revenue from counted_facts f where f.day > current_date - 30
)
select m.metric, round(m.value, 4) as value, m.target, m.value > m.target as is_met, m.detail
  from people p, calls c, webhooks w, releases r, heard h,
       lateral (values
           ('api_adoption', p.paying_with_api::numeric / nullif(p.paying, 0), 0.10, format('%s of %s accounts that pay have used a key in 30 days', p.paying_with_api, p.paying)),
           ('api_calls', coalesce(c.lately, 0)::numeric, null::numeric, format('in 30 days; %s in the 30 before', coalesce(c.before, 0))),
           ('webhook_success', w.delivered / nullif(w.settled, 0), 0.95, format('%s of %s deliveries of 30 days', coalesce(w.delivered, 0), coalesce(w.settled, 0))),
           ('distribution_success', r.live / nullif(r.decided, 0), 0.90, format('%s of %s targets of 30 days', coalesce(r.live, 0), coalesce(r.decided, 0))),
           ('integration_usage', p.distributing::numeric / nullif(p.accounts, 0), 0.05, format('%s of %s accounts have distributed something', p.distributing, p.accounts)),
           ('streams', coalesce(h.streams, 0)::numeric, null, 'in 30 days'),
           ('downloads', coalesce(h.downloads, 0)::numeric, null, 'in 30 days'),
           ('revenue', null, null, format('in 30 days: %s', coalesce(h.revenue, '{}')))) m (metric, value, target, detail);
comment on view success_metrics is 'How well it goes as a whole, each figure beside its target: adoption, calls, deliveries, distribution, streams, revenue';
