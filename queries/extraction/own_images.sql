-- purpose: images and groups that a prompt stands for: an image that carries it as its caption, or one of the same group
-- grain: one row per prompt and image that carries it
-- reads: images, groups, prompts
-- example: scanner query RUN extraction/own_images
with
tried as (
    select distinct prompt_id
    from prompts
),
final as (
    select tried.prompt_id, images.image_id, groups.group_id
    from images join tried on tried.prompt_id = caption_hash(images.caption) left join groups using (image_id)
    where images.caption is not null and images.status = 'ok'
)
select * from final order by prompt_id, image_id
