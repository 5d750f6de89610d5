-- purpose: where the file of a generated image lies in the run
-- grain: one row, none where it was not kept
-- reads: generations
-- param: generation_id integer -- the generation
-- example: scanner query RUN serve/generated_file --param generation_id=1
with
final as (
    select generation_id, image_path
    from generations
    where generation_id = $generation_id and image_path is not null
)
select * from final order by generation_id
