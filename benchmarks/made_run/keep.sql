select
    image_of(position) as image_id, m.g is null or m.k = 0 as is_kept, (m.g is null or m.k = 0)::integer::double as sample_weight,
    case when m.k > 0 then 'one of a group' end as rule, case when m.k > 0 then h.representative_id end as because_of,
    case when m.k > 0 then (0.95 + 0.05 * share(position, 'link'))::float end as similarity
from range(getvariable('first'), getvariable('last')) as t (position)
    left join made_members as m using (position)
    left join made_heads as h using (g)
order by position
