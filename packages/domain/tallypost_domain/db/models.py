"""The base of all models, and the metadata of the whole schema."""

import datetime as dt
from typing import ClassVar
from uuid import UUID

from sqlalchemy import DateTime, MetaData, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB
from sqlalchemy.orm import DeclarativeBase

from tallypost_domain.db.names import NAMING_CONVENTION

METADATA = MetaData(naming_convention=NAMING_CONVENTION)


class Base(DeclarativeBase):
    """A table of Tallypost. Relationships across slices do not exist; slices link by id."""

    metadata = METADATA
    type_annotation_map: ClassVar = {
        str: Text,
        bytes: BYTEA,
        UUID: Uuid,
        dt.datetime: DateTime(timezone=True),
        list[str]: ARRAY(Text),
        dict[str, str]: JSONB,
        dict[str, object]: JSONB,
        list[object]: JSONB,
        list[dict[str, str]]: JSONB,
        list[dict[str, object]]: JSONB,
    }
