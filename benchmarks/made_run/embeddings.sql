select
    image_of(position) as image_id,
    unhex(repeat('0000', (hash(position, 'v') % 8)::integer) || '003C' || repeat('0000', (7 - hash(position, 'v') % 8)::integer)) as embedding
from range(getvariable('first'), getvariable('last')) as t (position) left join made_members as m using (position)
where m.g is not null or status_of(position) = 'ok'
order by position
