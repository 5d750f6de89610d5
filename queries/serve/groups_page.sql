-- purpose: a page of the groups that fit, by risk or by size, and how many fit
-- grain: one row per group
-- reads: group_risk, group_evidence, group_captions, groups
-- param: class text = any -- any, ranked (all but blank), or one class of group_evidence
-- param: kind text = any -- any, or the kind of at least one member beside the representative
-- param: min_images integer = 2 -- images of the group, at least
-- param: caption text -- part of a caption that the group carries, in upper or lower case; empty: all groups
-- param: sort text = risk -- risk (by rank, unranked groups last) or size (most images first)
-- param: limit integer = 20 -- rows
-- param: offset integer = 0 -- rows left out before them
-- example: scanner query RUN serve/groups_page --param caption=boat --param sort=size
with
fitting as (
    select *, if($sort = 'size', -num_images, risk_rank) as place
    from group_risk
    where
        ($class = 'any' or class = $class or ($class = 'ranked' and risk_rank is not null))
        and num_images >= $min_images
        and (
            $caption = ''
            or group_id in (
                select group_id from group_captions where $caption != '' and contains(lower(caption), lower($caption))
            )
        )
        and (
            $kind = 'any'
            or group_id in (select group_id from groups where $kind != 'any' and kind = $kind and not is_representative)
        )
),
page as (
    select *
    from fitting
    order by place nulls last, num_images desc, group_id
    limit $limit offset $offset
),
final as (
    select
        $offset + row_number() over (order by page.place nulls last, page.num_images desc, page.group_id) as position,
        page.group_id, page.risk_rank, page.num_images, page.num_exact, page.num_distinct_captions, page.num_hosts, page.class,
        page.risk_score, page.representative_id, coalesce(group_evidence.num_files, page.num_images) as num_files,
        coalesce(group_evidence.is_protected, false) as is_protected, (select count(*) from fitting) as num_fitting
    from page left join group_evidence using (group_id)
)
select * from final order by position
