"""Settings: one frozen Struct per app, read once from the environment and passed down."""

from tallypost_core.settings.loader import Secret, SettingsError, load_settings

__all__ = ["Secret", "SettingsError", "load_settings"]
