"""Short names for what the tests of pictures do."""

from mixexp.inspection import ExpertRegionsDisplay

NAMES = ["width", "height", "depth"]
show = ExpertRegionsDisplay.from_estimator


def fitted(model, X, y):
    return model.set_params(n_init=2, max_iter=300, tol=1e-4, random_state=0).fit(X, y)


def legend_texts(display):
    return [text.get_text() for text in display.legend_.get_texts()]
