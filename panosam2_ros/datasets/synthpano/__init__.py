"""SynthPano: a benchmark of synthetic 360 video with exact ground truth, in the layout of 360VOS.

``python -m panosam2_ros.datasets.synthpano --version v2 --split val --out DIR`` writes it. The settings of
each version are frozen in ``config/synthpano_VERSION.json``, whose SHA-256 belongs to every result. v1 splits
sprites by file name, which leaks: use v2 for choices, and v1 to compare with older results. The written files
are::

    DIR/360vots-info.csv                    a row per sequence: split, id, attributes
    DIR/<split>/summary.json                what was measured in all sequences, and the quotas
    DIR/<split>/<NNN>/image/<NNNNNN>.jpg    frames
    DIR/<split>/<NNN>/mask/<NNNNNN>.png     DAVIS palette, value = object id
    DIR/<split>/<NNN>/look_alike/<NNNNNN>.png   likewise of distractors, untracked things that look like an
                                            object; value = that object's id; only where there are any
    DIR/<split>/<NNN>/truth.json            directions, visibility, sizes, attributes: ``ground_truth.py``

Names of files, folders and keys are frozen with the benchmark and keep older words: ``truth`` is the ground
truth, ``look_alike`` a distractor, while the setting ``distractors`` counts all untracked things that move.
"""
