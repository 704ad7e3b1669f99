public import EspalierBasics

extension Problem.Code {
  /// What was given to a network does not fit it: a token outside the vocabulary, an empty sequence, a missing input.
  public static let networkInput = Problem.Code("network.input")
  /// A parameter that the program needs is not in the checkpoint, or has another shape than described.
  public static let networkParameter = Problem.Code("network.parameter")
  /// A network gave something that is not a number, or infinite: its weights or its inputs are damaged.
  public static let networkNotFinite = Problem.Code("network.not-finite")
  /// The program asks for an operation or an option of one that does not exist.
  public static let networkProgram = Problem.Code("network.program")
}

/// What logits a token can be chosen by: none is NaN or +infinity, and at least one is finite.
///
/// - Throws: `network.not-finite`.
func checkLogits(_ logits: [Float]) throws(Problem) {
  var largest = -Float.infinity
  for logit in logits {
    guard logit < .infinity else {
      throw Problem(
        .networkNotFinite, "a logit is \(logit): the model's weights are damaged, or its numbers overflow",
        remedy: "Look for NaN and infinity with espalier inspect.")
    }
    largest = max(largest, logit)
  }
  guard largest > -.infinity else { throw Problem(.networkNotFinite, "all logits are -infinity") }
}
