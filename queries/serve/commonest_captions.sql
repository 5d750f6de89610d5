-- purpose: what groups are called: of each the captions that most of its images carry
-- grain: one row per group and caption shown
-- reads: group_captions
-- param: group_ids text -- ids, separated by commas
-- param: captions integer = 3 -- captions of each group
-- example: scanner query RUN serve/commonest_captions --param group_ids=0,16777216
with
asked as (
    select distinct try_cast(unnest(string_split($group_ids, ',')) as bigint) as group_id
),
final as (
    select
        group_captions.group_id, left(group_captions.caption, 10000) as caption, group_captions.num_images, group_captions.caption_family,
        row_number() over (
            partition by group_captions.group_id order by group_captions.num_images desc, group_captions.caption
        ) as position
    from asked join group_captions using (group_id)
    qualify position <= $captions
)
select * from final order by group_id, position
