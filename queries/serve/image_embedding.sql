-- purpose: the embedding of one image
-- grain: one row, none where the image was not embedded
-- reads: embeddings
-- param: image_id integer -- the image
-- example: scanner query RUN serve/image_embedding --param image_id=16777216
with
final as (
    select image_id, embedding
    from embeddings
    where image_id = $image_id
)
select * from final order by image_id
