internal import EspalierBasics

/// The report of a step that makes a model.
protocol StepOutcome {
  var json: JSON { get }
  var text: String { get }
  var markdown: String { get }
}

extension AlignmentReport: StepOutcome {}
extension QuantizationReport: StepOutcome {}
extension ReductionReport: StepOutcome {}
extension RestructuringReport: StepOutcome {}

extension StepRecord {
  /// Keeps what a step reports.
  mutating func take(_ outcome: some StepOutcome) {
    (report, text, markdown) = (outcome.json, outcome.text, outcome.markdown)
  }
}
