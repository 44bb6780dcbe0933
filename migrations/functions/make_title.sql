-- version 1
-- Makes a title of a message: removes Markdown and repeated white space, and cuts after a word, at 80
-- characters. Reads only the first 1,000 characters, so that long messages take no more time.
create or replace function $functions.make_title(content text) returns text
language plpgsql immutable
set search_path = ''
as $$
declare
    title text := left(content, 1000);
begin
    title := regexp_replace(title, '!?\[([^]]*)\]\([^)]*\)', '\1', 'g');        -- [text](link)
    title := regexp_replace(title, '```[a-zA-Z0-9+-]*', ' ', 'g');              -- ```python
    title := regexp_replace(title, '(^|\n)\s*((#+|>+|[-*+]|\d+[.)])\s+)+', '\1', 'g');
    title := regexp_replace(title, '[*`~]+', '', 'g');
    title := regexp_replace(title, '(^|\W)_+|_+(\W|$)', '\1\2', 'g');           -- _so_, but not so_so
    title := regexp_replace(title, '[[:cntrl:]]', ' ', 'g');
    title := btrim(regexp_replace(title, '\s+', ' ', 'g'));
    if char_length(title) > 80 then
        title := left(title, 80);
        -- 79 characters and an ellipsis. Text without spaces is cut inside a word.
        title := regexp_replace(left(title, 79 + (substr(title, 80, 1) = ' ')::int), '\s+\S*$', '');
        title := rtrim(left(title, 79), ' ,;:.-') || '…';
    end if;
    return nullif(title, '');
end
$$;
