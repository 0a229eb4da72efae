"""The pages that people read: the report of a run, two runs beside each other, the browser."""
