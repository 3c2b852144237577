"""Names and limits that flags and networks share; importing them costs nothing."""

from typing import Literal

BackboneName = Literal["resnet18", "efficientnet_lite0"]
Clustering = Literal["finch", "farthest"]
PrnSize = Literal["prn", "prn-s"]
TableName = Literal["table4", "table5", "table6", "table7", "datasets"]

STRIDES = (4, 8, 16)  # input pixels per feature, at the three scales of a backbone
SIMULATED_CERTAINTY = 0.7  # of a simulated anomaly's mask where defects, which say 1, were seen
PROTOTYPE_SHARE = 0.1  # of the normal pictures (PRN)
CLUSTERING_HELP = (
    "protoad: how prototypes are chosen; finch: farthest points among the means of FINCH, whose "
    "authors restrict commercial use; farthest: farthest points among the patches, without FINCH"
)
BATCH_SIZES: dict[PrnSize, int] = {"prn": 64, "prn-s": 8}
LEARNING_RATES: dict[PrnSize, float] = {"prn": 1e-4, "prn-s": 1e-3}
ODDNESS = 3.0  # standard deviations from which on a new normal picture waits for a person
