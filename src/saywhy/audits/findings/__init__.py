"""The kinds of findings, a module each: ``find(view)``, and ``trials(subject, view, done)`` where pictures change."""
