-- api: cursors, until the dispatcher brings its own

create function _cursor(operation text, payload text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$ select translate(encode(convert_to(operation || chr(10) || payload, 'UTF8'), 'base64'), E'+/=\n', '-_') $$;
comment on function _cursor(text, text) is 'A cursor of a list';

create function _open_cursor(operation text, cursor text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    clear text;
begin
    begin
        clear := convert_from(decode(translate(cursor, '-_', '+/') || repeat('=', (4 - length(cursor) % 4) % 4), 'base64'), 'UTF8');
    exception when others then
        clear := '';
    end;
    if not starts_with(clear, operation || chr(10)) then
        raise exception 'the cursor is not valid'
            using errcode = '22023', detail = '{"field": "/cursor"}', hint = 'Take it from next_cursor of the same list, or leave it out to begin anew.';
    end if;
    return substr(clear, length(operation) + 2);
end
$$;
comment on function _open_cursor(text, text) is 'What _cursor() was made of; raises for any other text';
