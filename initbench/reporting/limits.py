"""The limits of what the report shows. The page notes each limit that it reaches; `initbench export` has everything."""

# The page in words
MAX_FIRST_ANSWERS = 8  # combinations with an answer on the first screen; a button shows the others, as of these:
MAX_FIRST_ROWS = 18  # rows of the table of numbers
MAX_FIRST_PANELS = 4  # combinations with figures
MAX_OWN_VERDICTS = 5  # own initializers with a verdict, the best
MAX_ANSWERS = 200  # combinations with an answer at all
MAX_NAMED = 8  # initializers that a list in a sentence names
MAX_NETWORKS = 2  # networks that a sentence describes one by one
MAX_NETWORK_ROWS, MAX_LAYERS = 20, 12  # networks whose parameters are listed, and shapes of weights of each
MAX_SIGNAL_SENTENCES, MAX_PREDICTORS = 6, 8  # sentences on the signal before training; rows of each table of predictors
MAX_SIGNAL_ROWS = 10_000_000  # rows of the signal table that are read; beyond, those of the first seeds
MAX_TRAINED_ROWS = 100  # rows of the table of the signal after training
MAX_OPEN_NAMED = 4  # initializers with a mean more than a point below the leader that an answer names among the best

# Its tables
MAX_TABLE_ROWS = 500  # rows of the table of means
MAX_PAIRS = 20_000  # pairs of initializers over all combinations; beyond, the table compares with the leader alone
MAX_PIVOT_COLUMNS = 16  # combinations that `initbench export` writes side by side, unless a layout is given
MAX_EMBEDDED_ROWS = (
    30_000  # rows of the tidy table that the page carries; beyond, it carries the last epochs or nothing
)
MAX_PLANNED = 100  # comparisons in the table of seeds
MAX_FAILURES = 100  # rows of each table of failures
MAX_FLAGGED = 50  # configurations in the list of intervals that cover less

# The code of plugins
MAX_PLUGINS = 20  # plugins whose code is shown
MAX_SOURCE_FILES = 50  # files of a plugin
MAX_SOURCE, MAX_SOURCE_LINE = 50_000, 500  # characters of all files of a plugin, and of a line between tabs

# Its figures
MAX_OVERVIEW_INITIALIZERS = 16  # rows of the first figure
MAX_OVERVIEW_COLUMNS = 16  # combinations in a heat map of all of them
MAX_COLOURED_POINTS = 5  # points behind the best that differ in colour; all beyond have one
MAX_PANELS, MIN_PANELS = 16, 4  # combinations with figures of their own
MAX_PANEL_ROWS = 100  # rows in all panels of one section together, about
MAX_SEEDS = 30  # seeds in a figure, as dots and as numbers; beyond, quartiles
MAX_EPOCHS = 12  # epochs in the numbers of a figure, evenly spaced
MAX_STATISTICS_MAPS = 2  # combinations with a map of statistics before training
MAX_SHOWN_LAYERS, MAX_LAYER_MARKS = 12, 16  # layers in the numbers of a figure, and markers on a curve by layer
MAX_THRESHOLDS = 60  # points of a performance profile
MAX_NAMED_CURVES, MAX_NAMED_BEST = 10, 7  # curves with a colour and a name, those of the best; others are grey
MAX_COMPETING = 0.1  # behind the highest final validation accuracy, so that learning curves zoom to it
MIN_LOG_RATIO = 10  # of the highest loss to the lowest, on a logarithmic axis
MAX_JOINED_SEEDS = 12  # seeds whose dots are joined across initializers
MAX_FIGURE_ROWS = 24  # rows of a figure; beyond, those that are far behind share one
MAX_FIRST_FIGURE = 700  # pixels of width of the first figure beside the answer; a wider one stands below
MAX_NARROW_FIGURE = 460  # pixels of width of a figure beside another; a wider one fills a row, and scrolls on a phone

# The figures of `initbench show`
N_BINS = 31  # bins of a histogram
MAX_BAR = 40  # characters of the longest bar in a terminal
MAX_DRAWN_UNITS = 64  # inputs and units of a drawn matrix: the first ones
MAX_TILES = 6  # units, drawn as images, in a row and in a column

# The page of a comparison
MAX_COMPARED_ROWS = 1_000  # rows of the table, those that changed most
MAX_COMPARED_DRAWN = 12  # rows of the figure and of its first table, those that changed most
MAX_DIFFERING = 3  # differences of the environments in the answer

# Letters, in widths of an ordinary character
MAX_ROW_NAME, MIN_ROW_NAME = 17, 13  # in a line of a name beside a row, at a panel's width and at less; two lines
MAX_LONG_NAME = 28  # in such a line where names have the values of settings too
MAX_NUMBER_LINE = 12  # in a line of a number beside a row; longer ones have two lines
MAX_NAME_LINE, MAX_NAME_LINES = 24, 6  # in a line of a name beside a heat map; and such lines
MAX_COLUMN_LINES = 4  # above a column of a heat map
MAX_LARGE_COLUMNS = 8  # columns of a heat map with numbers in large type
MAX_CURVE_NAME = 6  # beside a curve, for each inch of its panel's width with the names

# Numbers
MAX_HALF_WIDTH = 0.5  # half the width of an accuracy's interval; beyond, text says "over 50" and bars end in arrows
MAX_SHOWN_SEEDS = 1_000  # a number of seeds that would be needed; beyond, text says "> 1,000"
MAX_TICK_DECIMALS, MAX_TICK_LETTERS = 7, 9  # of a tick's label; beyond, it has a power of ten
