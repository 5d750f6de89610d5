-- purpose: all that is known of one image: its duplicates, its group, how its caption stands, where it is in the order of risk
-- grain: one row, none if there is no such image
-- reads: images, shards, neighbors, groups, group_risk, group_captions
-- param: image_id integer -- the image
-- example: scanner query RUN risk/risk_of_image --param image_id=16777216
with
asked as (
    select image_id, dataset, key, url, caption, status, error_message, width, height, is_blank
    from images
    where image_id = $image_id
),
member as (
    select image_id, group_id, is_representative, kind, confidence, similarity_to_representative
    from groups
    where image_id = $image_id
),
ranked as (
    select count(risk_rank) as num_ranked
    from group_risk
),
final as (
    select
        asked.image_id, asked.dataset, shards.url as shard, asked.key, asked.status, asked.error_message, asked.width, asked.height,
        asked.is_blank, asked.caption, asked.url, neighbors.num_neighbors, neighbors.nearest_id, neighbors.nearest_similarity,
        neighbors.outlier_score, member.group_id, coalesce(group_risk.num_images, 1) as num_images, member.is_representative, member.kind,
        member.confidence, member.similarity_to_representative, group_risk.class, group_captions.num_images as num_with_caption,
        group_risk.caption_agreement, group_risk.num_hosts, group_risk.risk_score, group_risk.risk_rank, ranked.num_ranked
    from asked
    join shards on shards.shard_id = asked.image_id >> 24
    cross join ranked
    left join neighbors using (image_id)
    left join member using (image_id)
    left join group_risk on group_risk.group_id = member.group_id
    left join group_captions on group_captions.group_id = member.group_id and group_captions.caption = asked.caption
)
select * from final order by image_id
