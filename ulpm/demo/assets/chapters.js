// The words of the story, a chapter for each claim, and what the scene shows beside it: a setting of the laboratory or
// a film, from one place of its slider to another.

const CHAPTERS = [
  {
    title: "Where should three people stand?",
    text: `<p>Three people stand in a round room. Each wants to be as far from the others as possible. They end up in an
      equilateral triangle, with 120° between any two.</p>
      <p>The large marks are the three people. Drag one of them away: it goes back to the triangle.</p>`,
    lab: { K: 3, n: 1, d: 2, seed: 9, end: 100 },
    read: "angle",
  },
  {
    title: "Four people need one dimension more",
    text: `<p>In the plane four people cannot all be equally far apart. In space they can: at the corners of a
      tetrahedron. In general K points need K − 1 dimensions. The shape is called a <dfn>regular simplex</dfn>: all
      lengths are equal, and the cosine between any two directions is −1/(K − 1).</p>
      <p>No other arrangement has a larger smallest angle.</p>`,
    lab: { K: 4, n: 1, d: 3, seed: 91, end: 100 },
    read: "angle",
  },
  {
    title: "A classifier sorts points",
    text: `<p>A network turns each image into a list of d numbers, its <dfn>feature</dfn>: a point in d dimensions. The small
      marks are features. Marks of one shape belong to one <dfn>class</dfn>, such as “boot”.</p>
      <p>The last layer, the <dfn>classifier</dfn>, has one arrow for each class. The <dfn>score</dfn> of a class is the
      product of its arrow with the feature. The class with the highest score is the prediction.</p>`,
    lab: { K: 3, n: 12, d: 2, end: 10 },
    until: 0.02,
  },
  {
    title: "Training lowers a loss",
    text: `<p>The <dfn>cross-entropy loss</dfn> is small where the right class has a much higher score than the others.
      Training moves arrows and features downhill on this loss. If steps are infinitely short, the motion is called
      <dfn>gradient flow</dfn>, and t is its time.</p>
      <p>Soon each feature is on the right side: the <dfn>training error</dfn>, the share of wrong predictions, is zero. The
      loss is not. It falls as long as the scores grow.</p>`,
    lab: { K: 3, n: 12, d: 2, end: 10 },
    read: "loss",
  },
  {
    title: "After the last mistake: neural collapse",
    text: `<p>Now let training go on. Three things happen, which together are called <dfn>neural collapse</dfn>:</p>
      <p><strong>NC1.</strong> The features of a class gather at their <dfn>class mean</dfn>, the large mark.<br>
      <strong>NC2.</strong> The class means form a regular simplex: the answer to the question of the room.<br>
      <strong>NC3.</strong> Each arrow of the classifier points at its class mean.</p>
      <p>The three numbers below the scene measure how much is missing. All three fall towards zero.</p>`,
    lab: { K: 4, n: 12, d: 3, end: 1000 },
    read: "collapse",
  },
  {
    title: "A real network does it, too",
    text: `<p>This is a network (ResNet18) while it learns to tell pieces of clothing apart. Each name has one of its
      pictures. The slider counts <dfn>epochs</dfn>: passes through all images.</p>
      <p>Watch the training error below the scene. It reaches zero, and the features still go on to gather by class.
      Ten classes need nine dimensions, so you see a shadow of the simplex.</p>`,
    film: "network",
    panels: [0, 1],
  },
  {
    title: "The reason is not in the network",
    text: `<p>Why would a network do this? A simple model says: because of the loss. Take the network away. Let the
      features be free, so that each can move wherever the loss wants it. This is the <dfn>unconstrained layer-peeled
      model</dfn>.</p>
      <p>Here the features start as the pictures themselves, pixel by pixel. Left free, they collapse just as features of a
      network do.</p>`,
    film: "images",
    panels: [0],
  },
  {
    title: "Why follow time to 10¹⁰⁰⁰?",
    text: `<p>Collapse is slow: what is missing falls like 1/log t. To halve it, t has to be squared. So a simulation that
      stops when ordinary numbers of a computer end has seen the beginning only.</p>
      <p>And a flow can seem finished when it is not. This one starts beside a flat square. The square is a
      <dfn>saddle</dfn>: level in every direction, but downhill in one. For a very long time nothing seems to move. The
      distance below the scene grows all the while, and then the flow leaves.</p>`,
    film: "saddle",
    panels: [1],
  },
  {
    title: "When classes are unequal",
    text: `<p>Here two classes have ten times as many samples as the other two. Features still gather by class, but the
      shape is no longer regular: the large classes take more room, and the directions of the small ones move closer
      together.</p>
      <p>This is a question of <strong>fairness</strong>: the classifier has less room to tell two small classes apart. With
      weight decay small classes can even merge <small>(Fang, He, Long, Su, 2021, “Exploring deep
      neural networks via layer-peeled model: Minority collapse in imbalanced training”)</small>.</p>`,
    lab: { K: 4, n: 30, d: 3, imbalance: 10, end: 1000 },
    read: "pairs",
  },
  {
    title: "Why it matters",
    text: `<p><strong>Calibration.</strong> Without a brake scores grow for ever, and the network gets too sure of itself.
      <dfn>Weight decay</dfn>, a price on long arrows and features, stops the growth: this flow comes to rest.
      <small>(Guo, Pleiss, Sun, Weinberger, 2017)</small></p>
      <p><strong>Transfer.</strong> Features that have collapsed to K points have forgotten what differs within a class. Such
      features can be worse for a new task. <small>(Kornblith, Chen, Lee, Norouzi, 2021)</small></p>
      <p><strong>The unknown.</strong> Where known classes are tight and far apart, an input of no known class stands out.
      Detectors of such inputs build on this. <small>(Ben Ammar, Belkhir, Popescu, Manzanera, Franchi, 2024)</small></p>
      <p>Now it is your turn: the laboratory follows this flow in your browser, in any setting you like.</p>`,
    lab: { K: 4, n: 12, d: 3, decayW: 0.01, decayH: 0.01, end: 10 },
    read: "norms",
  },
];
