-- purpose: what verification reads: the members of every candidate group with where their files lie
-- grain: one row per image in a candidate group
-- reads: candidates, images, shards
-- example: scanner query RUN groups/candidate_members
with
final as (
    select
        candidates.group_id, candidates.image_id, candidates.is_representative, candidates.similarity_to_representative,
        candidates.is_exact, images.dataset, shards.url as shard, images.key, images.byte_offset, images.num_bytes,
        images.sha256, images.phash, images.width, images.height, images.is_blank, images.caption
    from candidates
    join images using (image_id)
    join shards on shards.shard_id = candidates.image_id >> 24
)
select * from final order by group_id, image_id
