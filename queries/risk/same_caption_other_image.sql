-- purpose: captions that stand beside several different pictures: as a prompt such a caption singles out none of them
-- grain: one row per caption with two pictures or more; a group is one picture
-- reads: images, groups
-- param: limit integer = 20 -- rows
-- example: scanner query RUN risk/same_caption_other_image --param limit=50
with
-- Texts are told apart by 64 bits of a hash: at ten million captions and more the texts themselves would fill the memory.
captions as (
    select image_id, hash(caption) as text_hash
    from images
    where caption is not null and status = 'ok'
),
repeated as (
    select text_hash
    from captions
    group by text_hash
    having count(*) > 1
),
-- A group is named by its smallest image, so an image without one stands for itself.
pictures as (
    select captions.text_hash, coalesce(groups.group_id, captions.image_id) as picture_id, count(*) as num_images,
        min(captions.image_id) as first_image_id, bool_or(groups.group_id is not null) as is_group
    from captions semi join repeated using (text_hash) left join groups using (image_id)
    group by all
),
commonest as (
    select
        text_hash, count(*) as num_pictures, count(*) filter (where is_group) as num_groups, sum(num_images)::bigint as num_images,
        max(num_images) as most_of_a_picture, arg_min(picture_id, (-num_images, picture_id)) as commonest_picture_id,
        min(first_image_id) as first_image_id
    from pictures
    group by text_hash
    having count(*) > 1
    order by num_pictures desc, num_images desc, first_image_id
    limit $limit
),
final as (
    select
        images.caption, commonest.num_pictures, commonest.num_groups, commonest.num_images, commonest.most_of_a_picture,
        commonest.commonest_picture_id, commonest.first_image_id
    from commonest join images on images.image_id = commonest.first_image_id
)
select * from final order by num_pictures desc, num_images desc, first_image_id
