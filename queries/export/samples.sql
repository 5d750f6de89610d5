-- purpose: the samples of a rewritten set in order, each with the key it gets: its own, made safe, unless an earlier one has it
-- grain: one row per image that stays
-- reads: keep, images, shards
-- example: scanner query RUN export/samples
with
stays as (
    select
        keep.image_id, keep.sample_weight, images.dataset, shards.url as shard, images.key as source_key, images.caption,
        images.url, images.sha256, images.num_bytes, images.width, images.height,
        regexp_extract(images.key, '^(.*/)?([^/]*)$', 1, 's') as folder,
        regexp_replace(
            regexp_extract(images.key, '^(.*/)?([^/]*)$', 2, 's'),
            '(.)\.(jpg|jpeg|png|webp|gif|bmp|tif|tiff)$', '\1', 'is'
        ) as base
    from keep
    join images on images.image_id = keep.image_id
    left join shards on shards.shard_id = keep.image_id >> 24
    where keep.is_kept
),
-- A key ends at the first dot of its base name; folders that are empty, . or .. would lead out of wherever a tar is unpacked.
safe as (
    select
        * exclude (folder, base),
        case
            when folder = '' then ''
            else array_to_string(
                list_transform(
                    string_split(folder, '/')[:-2], lambda part: case when part in ('', '.', '..') then '_' else part end
                ), '/'
            ) || '/'
        end || case when base = '' then '_' else replace(base, '.', '_') end as key
    from stays
),
ranked as (
    select *, row_number() over (partition by key order by image_id) as occurrence
    from safe
),
totals as (
    select coalesce(bool_or(occurrence > 1), false) as has_collisions
    from ranked
),
-- Keys that look like made ones are made too, so that no key can ever meet another: every made one ends in its own image_id.
final as (
    select
        image_id, dataset, shard, source_key,
        case
            when occurrence > 1 or (has_collisions and regexp_matches(key, '__[0-9]+$')) then key || '__' || image_id
            else key
        end as key,
        caption, url, sha256, num_bytes, width, height, sample_weight
    from ranked, totals
)
select * from final order by image_id
