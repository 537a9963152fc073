"""The same questions over HTTP, and a page that asks them: what ``saywhy serve`` runs. Needs the extra [web].

schema.py   what goes over the wire, as pydantic models: the source of /openapi.json
models.py   what may be asked: classifiers with their spaces and words, loaded before the first request
gallery.py  pictures that everybody has
work.py     a queue of bounded length, and the threads that work it off
forms.py    uploads, bounded while they are read, and never on a disk
guard.py    who may ask: Host, Origin, token; and the headers of every answer
shown.py    an explanation as a page draws it
audit.py    an audit to look around in
app.py      the endpoints
"""
