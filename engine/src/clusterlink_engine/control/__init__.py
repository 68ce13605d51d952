"""The life of links and mirror topics: what was asked for, what is stored, what is done."""
