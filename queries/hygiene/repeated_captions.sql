-- purpose: captions that too many images of the set carry word for word, whatever they show
-- grain: one row per caption of more than max_images
-- reads: images
-- param: max_images integer = 1000 in [1, inf] -- images with one caption, at most
-- param: limit integer = 1000 in [0, inf] -- rows
-- example: scanner query RUN hygiene/repeated_captions --param max_images=100
with
-- Numbers in place of texts: a set has about as many captions as images, and few of them repeat so often.
often as (
    select hash(caption) as caption_number
    from images
    where status = 'ok' and caption is not null
    group by caption_number
    having count(*) > $max_images
),
final as (
    select caption, count(*) as num_images, count(distinct dataset) as num_datasets, min(image_id) as first_image_id
    from images
    where status = 'ok' and hash(caption) in (select caption_number from often) and regexp_matches(caption, '\S')
    group by caption
    having count(*) > $max_images
)
select * from final order by num_images desc, caption limit $limit
