-- The address guard. It starts from the default, whatever the server was
-- started with. A new session sees a reloaded setting: the postmaster serves
-- the signal before it takes the connection.
alter system set musicverse.allowed_networks = '';
select pg_reload_conf();
\c -

-- Each special range at its first and last address, and just outside of it.
create temp table ranges (n int generated always as identity, range cidr);
insert into ranges (range) values
  ('0.0.0.0/8'), ('10.0.0.0/8'), ('100.64.0.0/10'), ('127.0.0.0/8'),
  ('169.254.0.0/16'), ('172.16.0.0/12'), ('192.0.0.0/24'), ('192.0.2.0/24'),
  ('192.31.196.0/24'), ('192.52.193.0/24'), ('192.88.99.0/24'),
  ('192.168.0.0/16'), ('192.175.48.0/24'), ('198.18.0.0/15'),
  ('198.51.100.0/24'), ('203.0.113.0/24'), ('224.0.0.0/4'), ('240.0.0.0/4'),
  ('255.255.255.255/32'),
  ('::/128'), ('::1/128'), ('::/96'), ('::ffff:0:0/96'), ('::ffff:0:0:0/96'),
  ('64:ff9b::/96'), ('64:ff9b:1::/48'), ('100::/64'), ('100:0:0:1::/64'),
  ('2000::/3'), ('2001::/32'), ('2001::/23'), ('2001:2::/48'), ('2001:10::/28'),
  ('2001:20::/28'), ('2001:db8::/32'), ('2002::/16'), ('2620:4f:8000::/48'),
  ('3fff::/20'), ('5f00::/16'), ('fc00::/7'), ('fe80::/10'), ('fec0::/10'),
  ('ff00::/8');

create function pg_temp.edge(address inet) returns text language sql
return coalesce(musicverse.address_refusal(address), 'ALLOWED');

select range,
       pg_temp.edge(host(range)::inet) as first,
       pg_temp.edge(host(broadcast(range))::inet) as last
from ranges order by n;

select range,
       case when host(range) not in ('0.0.0.0', '::')
            then pg_temp.edge(host(range)::inet - 1) end as before,
       case when host(broadcast(range)) not like '255.255.255.255'
             and host(broadcast(range)) not like 'ffff:ffff:%'
            then pg_temp.edge(host(broadcast(range))::inet + 1) end as after
from ranges order by n;

-- Ordinary receivers pass.
select a, musicverse.address_refusal(a)
from unnest('{1.1.1.1,8.8.8.8,93.184.216.34,172.15.255.255,172.32.0.0,223.255.255.255,
              2606:4700:4700::1111,2a00:1450:4001:80b::200e,2001:4860:4860::8888}'::inet[]) a;

-- An IPv4 address inside an IPv6 one: mapped and NAT64 are judged by it, the
-- other forms are refused whatever they carry.
select a, musicverse.address_refusal(a)
from unnest('{::ffff:127.0.0.1,::ffff:10.1.2.3,::ffff:169.254.169.254,::ffff:8.8.8.8,
              64:ff9b::127.0.0.1,64:ff9b::192.168.0.1,64:ff9b::8.8.8.8,64:ff9b:1::8.8.8.8,
              ::127.0.0.1,::8.8.8.8,::ffff:0:8.8.8.8,
              2002:7f00:1::1,2002:808:808::1,
              2001:0:4136:e378:8000:63bf:80ff:fffe,2001:0:4136:e378:8000:63bf:f7f7:f7f7}'::inet[]) a;

-- A netmask on the argument changes nothing; NULL asks nothing.
select musicverse.address_refusal('10.1.2.3/8'), musicverse.address_refusal('8.8.8.8/4'),
       musicverse.address_refusal(null);

-- The setting: what cannot be a network is refused by name.
alter system set musicverse.allowed_networks = '10.0.0.0/33';
alter system set musicverse.allowed_networks = '10.0.0.0/8, fd00::/129';
alter system set musicverse.allowed_networks = '10.0.0.0/8, localhost';
alter system set musicverse.allowed_networks = '10.0.0.1/8';
alter system set musicverse.allowed_networks = '10.0.0.0/';
alter system set musicverse.allowed_networks = '10.0.0.0/8,';
alter system set musicverse.allowed_networks = '127.1';
set musicverse.allowed_networks = '127.0.0.1';

-- Networks that it lists pass, dialled as such or embedded.
alter system set musicverse.allowed_networks = '127.0.0.1, 10.1.0.0/16 ,fd00:1::/32', '64:ff9b:1:a::/64';
select pg_reload_conf();
\c -
show musicverse.allowed_networks;
select a, musicverse.address_refusal(a)
from unnest('{127.0.0.1,127.0.0.2,::1,10.0.255.255,10.1.0.0,10.1.255.255,10.2.0.0,
              fd00:1::,fd00:1:ffff:ffff:ffff:ffff:ffff:ffff,fd00:2::,
              ::ffff:127.0.0.1,::ffff:127.0.0.2,::127.0.0.1,64:ff9b::10.1.2.3,64:ff9b::10.2.2.3,
              2002:a01:1::1,2002:a02:1::1,2001:0:4136:e378:8000:63bf:f5fe:fefe,
              64:ff9b:1:a::1,64:ff9b:1::10.1.2.3}'::inet[]) a;
alter system set musicverse.allowed_networks = '';
select pg_reload_conf();
\c -
select musicverse.address_refusal('127.0.0.1');

alter system reset musicverse.allowed_networks;
select pg_reload_conf();
