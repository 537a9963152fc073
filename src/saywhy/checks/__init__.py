"""Claims put to the test: what becomes of an answer when its text or its picture is changed."""
