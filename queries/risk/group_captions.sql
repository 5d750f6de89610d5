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
    select group_id, caption, caption_hash(caption) as caption_hash, count(*) as num_images, count(distinct host) as num_hosts
    from members
    group by group_id, caption
),
-- A caption is normalised once: lower case, single spaces, digits masked. Longer ones than 64 words are compared whole only.
words as (
    select
        caption_hash, count(*) as num_groups,
        regexp_replace(regexp_replace(lower(trim(any_value(caption))), '\s+', ' ', 'g'), '[0-9]+', '#', 'g') as text,
        string_split(text, ' ') as tokens
    from counted
    group by caption_hash
),
-- Every mask of a caption: itself (position 0), and itself with one word masked. At least two words must stay, else all short
-- captions agree. There are ten times as many masks as captions and few of them are families, so they are told apart by hashes.
masks as (
    select caption_hash, num_groups, 0 as position, hash(text) as mask_hash
    from words
    where len(tokens) >= 2
    union all
    select
        caption_hash, num_groups, position,
        hash(array_to_string(list_concat(list_concat(tokens[:position - 1], ['*']), tokens[position + 1:]), ' ')) as mask_hash
    from words, unnest(range(1, len(tokens) + 1)) as positions (position)
    where len(tokens) between 3 and 64
),
-- No mask covers more groups than its captions are in, one with the other: most are out before groups are told apart.
frequent as (
    select mask_hash
    from masks
    group by mask_hash
    having sum(num_groups) >= $family_min_groups
),
kept_masks as (
    select masks.caption_hash, masks.position, masks.mask_hash
    from masks semi join frequent using (mask_hash)
),
families as (
    select kept_masks.mask_hash, min(least(kept_masks.position, 1)) as num_masked, count(distinct counted.group_id) as num_groups
    from kept_masks join counted using (caption_hash)
    group by kept_masks.mask_hash
    having count(distinct counted.group_id) >= $family_min_groups
),
spelt as (
    select
        kept_masks.caption_hash, families.num_groups, families.num_masked,
        case
            when kept_masks.position = 0 then words.text
            else array_to_string(
                list_concat(list_concat(words.tokens[:kept_masks.position - 1], ['*']), words.tokens[kept_masks.position + 1:]), ' '
            )
        end as mask
    from kept_masks join families using (mask_hash) join words using (caption_hash)
),
-- The mask that covers most groups names the family; of two, the one that masks less, then the alphabetically first.
caption_families as (
    select caption_hash, arg_min(mask, (-num_groups, num_masked, mask)) as caption_family
    from spelt
    group by caption_hash
),
final as (
    select
        counted.group_id, counted.caption_hash, counted.caption, counted.num_images, counted.num_hosts,
        caption_families.caption_family
    from counted left join caption_families using (caption_hash)
)
select * from final order by group_id, num_images desc, caption
