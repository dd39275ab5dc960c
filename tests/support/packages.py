"""The tree as a table: which folder may import which, and within modeling and pipeline which package."""

FOLDERS = {
    "cluster": {"cluster"},
    "modeling": {"modeling"},
    "pipeline": {"pipeline", "cluster", "modeling"},
    "jobs": {"jobs", "pipeline", "cluster", "modeling"},
}

PACKAGES = {
    "modeling": {
        "faces": set(),
        "teachers": {"faces"},
        "teacher_training": {"teachers", "faces"},
        "speech": set(),
        "students": {"speech"},
        "distillation": {"students"},
        "evaluation": {"faces"},
    },
    "pipeline": {
        "assets": set(),
        "media": set(),
        "decoding": {"media"},
        "dataset": set(),
        "indexing": {"dataset", "decoding", "media"},
        "labelling": {"assets", "media", "decoding", "dataset"},
        "importing": {"dataset", "decoding", "indexing", "labelling", "media"},
        "training": set(),
        "teachers": {"assets", "corpora", "decoding", "labelling", "media", "training"},
        "students": {"assets", "decoding", "media"},
        "distillation": {"assets", "dataset", "media", "training", "students"},
        "evaluation": {"dataset", "media", "students"},
        "corpora": {"media"},
        "probe": {"corpora", "decoding", "media", "students"},
        "transfer": {"assets", "dataset", "decoding", "media", "corpora", "distillation", "students"},
        "comparison": {"dataset"},
        "label_export": {"dataset"},
        "reports": {"media", "comparison", "evaluation", "corpora", "transfer"},
        "serving": {"decoding", "media", "reports", "students"},
        "planning": {"dataset", "labelling"},
        "benches": {"assets", "dataset", "media", "decoding", "labelling", "training", "distillation"},
    },
}
