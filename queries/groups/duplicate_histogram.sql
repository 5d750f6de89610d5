-- purpose: how many images have how many duplicates: the x axis of Carlini et al. 2023, Fig. 5
-- grain: one row per power of two of the duplicate count
-- reads: neighbors
-- example: scanner query RUN groups/duplicate_histogram
with
counted as (
    select 1 + num_neighbors as duplicate_count
    from neighbors
),
final as (
    select
        (2 ** floor(log2(duplicate_count)))::bigint as duplicates_from,
        (2 ** (floor(log2(duplicate_count)) + 1))::bigint - 1 as duplicates_to,
        count(*) as num_images
    from counted
    group by all
)
select * from final order by duplicates_from
