"""What all sections of the settings have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the settings: read-only, without unknown keys."""

    # The input of the whole model is hidden if the outermost one hides it: it may hold a secret.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)
