"""SynthPano: a benchmark of synthetic 360 video with exact truth, in the layout of 360VOS.

``python -m panosam2_ros.datasets.synthpano --split val --out DIR`` writes it. What it is like is frozen
in ``config/synthpano_v1.json``, whose SHA-256 belongs to every result. Written are::

    DIR/360vots-info.csv                    a row per sequence: split, id, attributes
    DIR/<split>/summary.json                what was measured in all sequences, and the quotas
    DIR/<split>/<NNN>/image/<NNNNNN>.jpg    frames
    DIR/<split>/<NNN>/mask/<NNNNNN>.png     DAVIS palette, value = object id
    DIR/<split>/<NNN>/look_alike/<NNNNNN>.png   likewise of untracked things that look like an object,
                                            value = that object's id; only where there are any
    DIR/<split>/<NNN>/truth.json            directions, visibility, sizes, attributes: ``ground_truth.py``
"""
