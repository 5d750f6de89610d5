-- purpose: a search that missed more than it should, by its own audit
-- grain: one row per measure below a limit
-- reads: audit
-- needs: exists (from audit where band = 'all') -- the search was not audited
-- param: min_recall number = 0.99 in [0, 1] -- share of its true neighbours that an image should find, in the mean
-- param: min_recall_low number = 0 in [0, 1] -- lower end of the 95 % interval of that share, at least; above 0, an audit without pairs fails
-- example: scanner query RUN hygiene/low_recall --param min_recall=0.999
with
final as (
    select measure, recall, recall_low, recall_high, num_pairs, num_rows, num_rows_sampled
    from audit
    where band = 'all' and (recall < $min_recall or recall_low < $min_recall_low)
)
select * from final order by measure desc
