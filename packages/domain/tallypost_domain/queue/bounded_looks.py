"""Pages of emails that are found by their queue rows, of which each page looks at so many only."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import CTE, Row, Select, select, true
from sqlalchemy.ext.asyncio import AsyncSession


class Look(NamedTuple):
    """What was found, and where the next page begins; it may be little and yet not the last."""

    # Any: the columns that the caller asked for.
    rows: Sequence[Row[Any]]
    after: UUID | None


# Any: the other columns.
def first_rows(rows: Select[*tuple[Any, ...]], most: int) -> CTE:
    """The rows of the queue that one page looks at, by the ids of their emails.

    rows has a column email_id.
    """
    return rows.order_by(rows.selected_columns.email_id).limit(most).cte()


# Any: as above.
async def find_page(
    session: AsyncSession, looked_at: CTE, most: int, emails: Select[Any], limit: int
) -> Look:
    """The first emails, up to limit, of those that stand behind looked_at.

    emails is a statement on looked_at, which has `most` rows at most, with a column email_id.
    """
    page = emails.limit(limit + 1).subquery()
    # By the same statement: another would look at rows behind those that have left meanwhile.
    last = select(looked_at.c.email_id).order_by(looked_at.c.email_id).offset(most - 1).limit(1)
    look = select(last.scalar_subquery().label("last")).subquery()
    found = select(look.c.last, page).join_from(look, page, true(), isouter=True)
    rows = (await session.execute(found.order_by(page.c.email_id))).all()
    shown = [row for row in rows[:limit] if row.email_id is not None]
    return Look(shown, shown[-1].email_id if len(rows) > limit else rows[0].last)
