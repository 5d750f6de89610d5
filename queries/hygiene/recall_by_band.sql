-- purpose: what the search missed, by brute force on sampled images: recall of counted neighbours and of links, by similarity
-- grain: one row per measure and band of similarity; band all first
-- reads: audit
-- example: scanner query RUN hygiene/recall_by_band
with
final as (
    select measure, band, num_rows_sampled, num_rows, num_pairs, recall, recall_low, recall_high
    from audit
)
select * from final order by measure desc, band <> 'all', band
