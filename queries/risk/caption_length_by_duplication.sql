-- purpose: whether images that occur more often stand under longer or shorter captions
-- grain: one row per power of two of the duplicate count, of images that have a caption
-- reads: images, neighbors
-- example: scanner query RUN risk/caption_length_by_duplication
with
-- Most images have no duplicate, so only those that have one are looked up.
duplicated as (
    select image_id, floor(log2(1 + num_neighbors))::integer as stratum
    from neighbors
    where num_neighbors > 0
),
captions as (
    select
        coalesce(duplicated.stratum, 0) as stratum, len(regexp_extract_all(images.caption, '\S+')) as num_words,
        length(images.caption) as num_characters
    from images left join duplicated using (image_id)
    where images.caption is not null and images.status = 'ok'
),
-- Counted by length first: the median comes from a few hundred rows.
lengths as (
    select stratum, num_words, count(*) as num_images, sum(num_characters) as num_characters
    from captions
    group by all
),
placed as (
    select
        *, sum(num_images) over (partition by stratum order by num_words) as num_up_to,
        sum(num_images) over (partition by stratum) as num_in_stratum
    from lengths
),
final as (
    select
        (2 ** stratum)::bigint as duplicates_from, (2 ** (stratum + 1))::bigint - 1 as duplicates_to,
        sum(num_images)::bigint as num_images, sum(num_words * num_images) / sum(num_images) as mean_words,
        min(num_words) filter (where 2 * num_up_to >= num_in_stratum) as median_words,
        sum(num_characters) / sum(num_images) as mean_characters
    from placed
    group by stratum
)
select * from final order by duplicates_from
