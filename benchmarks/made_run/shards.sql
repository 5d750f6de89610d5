select
    s as shard_id, 'made' as dataset, lpad(s::varchar, 5, '0') || '.tar' as url, getvariable('shard_rows') * 210000 as size, null::varchar as etag,
    (s * getvariable('shard_rows')) // getvariable('part_rows') as part,
    least(getvariable('shard_rows'), getvariable('num_images') - s * getvariable('shard_rows')) as num_rows,
    case when s % 200 = 7 then 'broken' else 'current' end as status, case when s % 200 = 7 then 'ends early' end as error_message
from range(0, (getvariable('num_images') + getvariable('shard_rows') - 1) // getvariable('shard_rows')) as t (s)
order by s
