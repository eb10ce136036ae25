"""Where the time of a call to a served model goes, beside the same model in this process."""
