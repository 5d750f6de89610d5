select
    image_of(position) as image_id, coalesce(m.num_images - 1, 0) as num_neighbors,
    case when m.image_id = h.group_id then h.last_id else h.group_id end as nearest_id,
    case when m.g is not null then (0.95 + 0.05 * share(position, 'nearest'))::float end as nearest_similarity,
    (case when m.g is not null then 0.5 * share(position, 'outlier') else 0.2 + 0.8 * pow(share(position, 'outlier'), 2) end)::float as outlier_score
from range(getvariable('first'), getvariable('last')) as t (position)
    left join made_members as m using (position)
    left join made_heads as h using (g)
where m.g is not null or status_of(position) = 'ok'
order by position
