-- Groups, their members and their links: what the tables of one run have in common.
-- A quarter of the images are in groups whose sizes fall as the 0.9th power of their rank: at ten million the largest has 50,000.
create temp table made_groups as
with
sizes as (
    select g, greatest(2, floor(getvariable('num_images') * 0.005 / pow(g, 0.9)))::bigint as num_images
    from range(1, getvariable('num_images') // 8 + 2) as t (g)
),
placed as (
    select g, num_images, (sum(num_images) over (order by g) - num_images)::bigint as first
    from sizes
)
select
    g, num_images, first,
    case
        when g = 1 then 'blank' when g = 2 then 'placeholder' when hash(g, 'class') % 100 < 1 then 'blank'
        when hash(g, 'class') % 100 < 2 then 'placeholder' when hash(g, 'class') % 100 < 8 then 'template'
        when hash(g, 'class') % 100 < 11 then 'text' when hash(g, 'class') % 100 < 13 then 'vector_graphic' else 'picture'
    end as class
from placed
where first + num_images <= getvariable('num_images') // 4
    and (getvariable('dropped') = 0 or hash(g, 'dropped') % greatest(getvariable('dropped'), 1) != 0);
-- Members lie scattered over the set: their places in line are permuted.
create temp table made_members as
with
scattered as (
    select g, num_images, class, k, ((first + k) * 7368787 + 12345) % getvariable('num_images') as position
    from made_groups, unnest(range(num_images)) as t (k)
)
select
    position, image_of(position) as image_id, g, k, num_images, class,
    min(image_of(position)) over (partition by g) as group_id,
    case when k = 0 or hash(g, k, 'kind') % 10 < 4 then 'exact' when hash(g, k, 'kind') % 10 < 9 then 'near' else 'semantic' end as kind
from scattered;
create temp table made_heads as
select g, any_value(num_images) as num_images, any_value(class) as class, any_value(group_id) as group_id,
    min(image_id) filter (where k = 0) as representative_id, max(image_id) as last_id, count(*) filter (where kind = 'exact') as num_exact,
    count(*) filter (where kind = 'near') as num_near, count(*) filter (where kind = 'semantic') as num_semantic
from made_members
group by g;
create temp table made_links as
select
    m.g, least(m.image_id, h.representative_id) as left_id, greatest(m.image_id, h.representative_id) as right_id,
    (case when m.kind = 'exact' then 1 else 0.95 + 0.05 * share(m.image_id, 'link') end)::float as similarity, true as is_within
from made_members as m join made_heads as h using (g)
where m.k > 0
union all
-- Near misses: every tenth group and the next one.
select
    a.g, least(a.representative_id, b.representative_id), greatest(a.representative_id, b.representative_id),
    (0.85 + 0.0999 * share(a.g, 'miss'))::float, false
from made_heads as a join made_heads as b on b.g = a.g + 1
where a.g % 10 = 0
