"""Computer vision before deep learning: hand-crafted features, and what is built on features of any kind."""

from dlcore.lazy import lazy_exports

lazy_exports(
    globals(),
    {
        "FeatureClassifier": "feature_classifier",
        "SearchResult": "retrieval",
        "acceptance_threshold": "retrieval",
        "all_pairs": "retrieval",
        "cell_histograms": "hog",
        "choose_l2": "feature_classifier",
        "color_histogram": "color_histogram",
        "concatenate": "feature_classifier",
        "encode": "bag_of_words",
        "fit_classifier": "feature_classifier",
        "hog": "hog",
        "image_gradients": "hog",
        "normalize_patches": "bag_of_words",
        "random_patches": "bag_of_words",
        "rgb_to_hsv": "color_histogram",
        "search": "retrieval",
    },
)
