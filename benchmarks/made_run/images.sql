select
    image_of(position) as image_id, 'made' as dataset, lpad(position::varchar, 10, '0') as key,
    'https://host' || floor(20000 * pow(share(position, 'host'), 3))::integer || '.example/images/' || position || '.jpg' as url,
    case
        when m.g is not null and hash(m.g, m.k, 'none') % 50 = 0 then null
        when m.g % 33 = 0 then 'shirt with print number ' || hash(m.g, m.k % 4) % 1000
        when m.g is not null and hash(m.g, m.k, 'c') % 10 < 6 then text_of(hash(m.g, 0))
        when m.g is not null then text_of(hash(m.g, hash(m.g, m.k, 'c') % 40))
        when hash(position, 'c') % 100 < 3 then null
        when hash(position, 'c') % 100 < 13 then text_of(hash(floor(20000 * pow(share(position, 'common'), 2))))
        else text_of(hash(position, 'text'))
    end as caption,
    unhex(sha256(case when m.kind = 'exact' then 'g' || m.g else 'i' || position end)) as sha256,
    hash(coalesce(m.g, position), 'phash') as phash,
    (256 + hash(position, 'w') % 1024)::bigint as width, (256 + hash(position, 'h') % 1024)::bigint as height,
    (5000 + hash(position, 'b') % 200000)::bigint as num_bytes, (position % getvariable('shard_rows')) * 210000 as byte_offset,
    coalesce(m.class = 'blank', false) as is_blank,
    case when m.g is not null then 'ok' else status_of(position) end as status,
    case
        when m.g is not null or status_of(position) = 'ok' then null
        when status_of(position) = 'missing' then 'HTTP Error 404: Not Found'
        else 'image file is truncated (' || hash(position, 'bytes') % 90 || ' bytes not processed)'
    end as error_message
from range(getvariable('first'), getvariable('last')) as t (position) left join made_members as m using (position)
order by position
