"""The paper's tables and figures, and what is looked up in a job's object: by one command each, from a job file."""
