"""The sections of the page around the charts and the gallery: key figures, captions, losses."""

from __future__ import annotations

from collections.abc import Sequence

from scanner.report.content import Content, Overview, RecallBand
from scanner.report.gallery import TEXT_LIMIT, family_tag
from scanner.report.markup import Html, element, foreign, join
from scanner.report.numbers import count, counted, probability, share
from scanner.report.settings import redacted
from scanner.report.tables import columns, command, rest, table


def overview(figures: Overview) -> Html:
    """The key figures."""
    o = figures
    losses = [
        (o.num_unreadable, "unreadable"),
        (o.num_missing, "missing"),
        (o.num_too_small, "too small"),
        (o.num_too_large, "too large"),
    ]
    lost = ", ".join(f"{count(number)} {name}" for number, name in losses if number)
    cells = [
        ("Images", count(o.num_images), f"in {counted(o.num_shards, 'shard')}, {count(o.num_broken_shards)} broken"),
        ("Usable", count(o.num_ok), share(o.num_ok, o.num_images)),
        ("Not usable", count(o.num_images - o.num_ok), lost or "every image was read"),
        ("Without caption", count(o.num_without_caption), share(o.num_without_caption, o.num_images)),
        ("Blank images", count(o.num_blank), "marked, never ranked"),
        ("Groups", count(o.num_groups), f"{count(o.num_blank_groups)} of them blank"),
        ("In groups", share(o.num_grouped, o.num_ok), f"{counted(o.num_grouped, 'image')} of the usable"),
        ("Removable", share(o.num_removable, o.num_ok), f"{counted(o.num_removable, 'image')}, each group keeping one"),
        ("Largest group", count(o.largest_group), f"images; the largest blank one {count(o.largest_blank_group)}"),
        ("Captions ranked", count(o.num_ranked_captions), counted(o.num_families, "caption family", "caption families")),
    ]
    return element("dl", join(_figure(*cell) for cell in cells), class_="figures")


def _figure(name: str, main: str, note: str) -> Html:
    return element("div", element("dt", name), element("dd", main, class_="main"), element("dd", note, class_="note"))


def captions(content: Content) -> Html:
    """The captions that most images of one group carry."""
    if not content.captions:
        return element("p", "No group that is ranked has a caption.", class_="rest")
    shown_groups = {group.group_id for group in content.groups}
    heads = columns("#Rank", "Caption", "#Images with it", "#Images of its group", "#Hosts", "#Risk score", "Group")
    rows = []
    for row in content.captions:
        id_ = str(row.group_id)
        cells = (
            count(row.risk_rank),
            join([foreign(row.caption, limit=TEXT_LIMIT), family_tag(row.caption_family)]),
            count(row.num_caption_images),
            count(row.num_images),
            count(row.num_hosts),
            probability(row.risk_score),
            element("a", id_, href=f"#group-{id_}") if row.group_id in shown_groups else id_,
        )
        rows.append(cells)
    total = content.overview.num_ranked_captions
    return join([
        element("p", "The same image under the same caption, again and again, is what a model learns word for word. "
                "Each caption stands here once, with its riskiest group."),
        table(heads, rows, caption="Captions that most images of one group carry"),
        rest(len(rows), total, "ranked captions", f"risk/top_captions --param limit={total}"),
    ])  # fmt: skip


def families(content: Content) -> Html:
    """Captions that many groups share but for a word or a number."""
    if not content.families:
        return element("p", "No caption family was found.", class_="rest")
    rows = [
        (
            foreign(row.caption_family, limit=TEXT_LIMIT),
            count(row.num_groups),
            count(row.num_images),
            count(row.num_captions),
            foreign(row.example_caption, limit=TEXT_LIMIT),
        )
        for row in content.families
    ]
    total = content.overview.num_families
    return join([
        element("p", "Captions of many groups, equal but for one word (*) or numbers (#): weak evidence of risk for each alone."),
        table(columns("Mask", "#Groups", "#Images", "#Captions", "For example"), rows, caption="Caption families, largest first"),
        rest(len(rows), total, "caption families", f"risk/caption_families --param limit={total}"),
    ])  # fmt: skip


def unusable(content: Content) -> Html:
    """Reasons why images were left out, with examples."""
    if not content.reasons:
        return element("p", "Every image of the set could be used.", class_="rest")
    rows = [
        (
            foreign(row.reason, limit=2 * TEXT_LIMIT),
            element("span", row.status.replace("_", " "), class_="tag"),
            count(row.num_images),
            join((foreign(key, limit=60) for key in row.example_keys), ", "),
        )
        for row in content.reasons
    ]
    num_reasons, num_lost = content.reasons[0].num_reasons, content.overview.num_images - content.overview.num_ok
    return join([
        table(columns("Reason", "Status", "#Images", "For example"), rows, caption="Why images were left out, commonest first"),
        rest(len(rows), num_reasons, "reasons", f"report/unusable_reasons --param limit={num_reasons}"),
        element("p", "Image by image: ", command(f"hygiene/unreadable --param limit={num_lost}"), class_="rest"),
    ])  # fmt: skip


def shards(content: Content) -> Html:
    """The shards that lost something, the worst first."""
    o, bad = content.overview, [row for row in content.shards if row.status == "broken" or row.num_ok < row.num_images]
    note = element("p", f"{count(o.num_shards - o.num_lossy_shards)} of {counted(o.num_shards, 'shard')} lost nothing.")
    if not bad:
        return join([note, element("p", command(f"hygiene/shard_health --param limit={o.num_shards}"), class_="rest")])
    rows = []
    for row in bad:
        name = foreign(redacted(f"{row.dataset}/{row.url}"), limit=TEXT_LIMIT)
        if row.error_message:
            name = join([name, element("div", foreign(row.error_message, limit=2 * TEXT_LIMIT), class_="cause")])
        status = element("span", row.status, class_="tag warn" if row.status == "broken" else "tag")
        lost = row.num_images - row.num_ok
        cells = (
            name, status, count(row.num_images), count(row.num_ok), count(lost), share(lost, row.num_images),
            count(row.num_missing), count(row.num_blank),
        )  # fmt: skip
        rows.append(cells)
    heads = columns("Shard", "Status", "#Images", "#Usable", "#Lost", "#Share lost", "#Missing", "#Blank")
    return join([
        note,
        table(heads, rows, caption="Shards with losses, the worst first"),
        rest(len(rows), o.num_lossy_shards, "shards with losses", f"hygiene/shard_health --param limit={o.num_shards}"),
    ])  # fmt: skip


def broken_warning(content: Content) -> str | None:
    """Names the first broken shards, for the head of the page."""
    total, shown = content.overview.num_broken_shards, 5
    names = [f"{shard.dataset}/{redacted(shard.url)}" for shard in content.shards if shard.status == "broken"][:shown]
    if not total:
        return None
    more = f" and {count(total - len(names))} more" if total > len(names) else ""
    return f"{counted(total, 'shard')} ended early; what was readable before the break is counted: {', '.join(names)}{more}."


def audit(bands: Sequence[RecallBand]) -> Html:
    """Recall of the search by similarity, with its intervals."""
    if not bands:
        return element("p", "The search was not audited.", class_="rest")
    rows = [
        (
            "neighbours counted" if band.measure == "neighbors" else "pairs that ended in one group",
            band.band,
            count(band.num_pairs),
            count(band.num_rows),
            "no pair" if band.recall is None else f"{band.recall:.4f}",
            f"{band.recall_low:.4f} to {band.recall_high:.4f}" if band.num_rows else "",
        )
        for band in bands
    ]
    return join([
        element("p", f"{counted(bands[0].num_rows_sampled, 'sampled image')} compared with all others by brute force. Recall is "
                "the share of its true neighbours that an image found, in the mean over images; the interval is over images."),
        table(
            columns("Of", "Similarity", "#True pairs", "#Images with one", "#Recall", "#95 % interval"), rows,
            caption="Recall of the search, by band of similarity",
        ),
        element("p", command("hygiene/recall_by_band"), class_="rest"),
    ])  # fmt: skip
