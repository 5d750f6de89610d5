-- purpose: which of the given captions the set holds, so that they are no controls
-- grain: one row per caption that is held
-- reads: images
-- param: prompt_ids text -- prompt_id of the captions, separated by commas
-- example: scanner query RUN risk/captions_known --param prompt_ids=1,2
with
asked as (
    select unnest(string_split($prompt_ids, ',')) as text
),
final as (
    select distinct caption_hash(caption) as prompt_id
    from images
    where caption is not null and caption_hash(caption) in (select try_cast(text as bigint) from asked)
)
select * from final order by prompt_id
