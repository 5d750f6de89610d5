-- purpose: how many images of a group carry each of its captions, and which captions follow one mask over many groups
-- grain: one row per group and caption
-- reads: groups, images
-- param: family_min_groups integer = 5 -- groups over which captions must be equal under a mask to be a family
-- example: scanner query RUN risk/group_captions --param family_min_groups=10
with
members as (
    select groups.group_id, images.caption, host(images.url) as host
    from groups join images using (image_id)
    where images.caption is not null
),
counted as (
    select group_id, caption, count(*) as num_images, count(distinct host) as num_hosts
    from members
    group by group_id, caption
),
-- A caption is normalised once: lower case, single spaces, digits masked. Longer ones than 64 words are compared whole only.
normalised as (
    select caption, regexp_replace(regexp_replace(lower(trim(caption)), '\s+', ' ', 'g'), '[0-9]+', '#', 'g') as text
    from counted
    group by caption
),
words as (
    select caption, text, string_split(text, ' ') as tokens
    from normalised
),
-- Every mask of a caption: itself, and itself with one word masked. At least two words must stay, else all short captions agree.
masks as (
    select caption, text as mask, 0 as num_masked
    from words
    where len(tokens) >= 2
    union all
    select
        caption,
        array_to_string(list_concat(list_concat(tokens[:position - 1], ['*']), tokens[position + 1:]), ' ') as mask,
        1 as num_masked
    from words, unnest(range(1, len(tokens) + 1)) as positions (position)
    where len(tokens) between 3 and 64
),
families as (
    select masks.mask, any_value(masks.num_masked) as num_masked, count(distinct counted.group_id) as num_groups
    from masks join counted using (caption)
    group by masks.mask
    having count(distinct counted.group_id) >= $family_min_groups
),
-- The mask that covers most groups names the family; of two, the one that masks less, then the alphabetically first.
caption_families as (
    select masks.caption, arg_min(families.mask, (-families.num_groups, families.num_masked, families.mask)) as caption_family
    from masks join families using (mask)
    group by masks.caption
),
final as (
    select
        counted.group_id, caption_hash(counted.caption) as caption_hash, counted.caption, counted.num_images, counted.num_hosts,
        caption_families.caption_family
    from counted left join caption_families using (caption)
)
select * from final order by group_id, num_images desc, caption
