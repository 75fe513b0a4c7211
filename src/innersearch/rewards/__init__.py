"""What a trajectory is worth: named measures, terms that weigh them, and rubrics of terms."""

from innersearch.rewards import answers, conduct, documents, searches
from innersearch.rewards.format import graded_format, one_thought, strict_format
from innersearch.rewards.rubric import Rubric
from innersearch.rewards.scored import Scored
from innersearch.rewards.terms import MEASURES, GroupMeasure, Measure, Term, find_measure

__all__ = [
    "MEASURES",
    "GroupMeasure",
    "Measure",
    "Rubric",
    "Scored",
    "Term",
    "answers",
    "conduct",
    "documents",
    "find_measure",
    "graded_format",
    "one_thought",
    "searches",
    "strict_format",
]
