-- purpose: what generations are held against: an image for every distinct picture, copies of it left out
-- grain: one row per picture
-- reads: images, groups, group_evidence
-- example: scanner query RUN extraction/pictures
with
-- Members that verification called another picture, or never looked at, stand for themselves.
copies as (
    select image_id
    from groups
    where not is_representative and kind in ('exact', 'near')
),
final as (
    select images.image_id, groups.group_id
    from images left join groups using (image_id) left join group_evidence using (group_id)
    where images.status = 'ok' and not coalesce(images.is_blank, false)
        and coalesce(group_evidence.class, 'picture') not in ('blank', 'placeholder')
        and images.image_id not in (select image_id from copies)
)
select * from final order by image_id
