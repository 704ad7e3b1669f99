import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierEvaluation

@Suite struct GateTests {
  @Test(arguments: [
    (Gate.Kind.maximumKL, "0.05", 0.05), (.maximumPerplexityRise, "2%", 0.02), (.maximumPerplexityRise, "2 %", 0.02),
    (.maximumPerplexityRise, "0.02", 0.02), (.minimumAccuracy, "75%", 0.75), (.minimumAccuracy, "1", 1),
    (.maximumAccuracyDrop, "-1%", -0.01), (.maximumPerplexity, "1e3", 1000), (.minimumCosine, "0.98", 0.98),
    (.maximumKL, "0", 0), (.maximumPerplexityRise, "200%", 2),
  ])
  func limitsAreRead(_ kind: Gate.Kind, _ text: String, _ limit: Double) throws {
    #expect(try Gate(kind, parsing: text) == Gate(kind, limit))
  }

  @Test(arguments: [
    (Gate.Kind.maximumKL, "", "--max-kl  is not a number"), (.maximumKL, "low", "--max-kl low is not a number"),
    (.maximumKL, "5%", "--max-kl is not a share: 5% means nothing"),
    (.maximumKL, "-1", "--max-kl -1 is outside of what the figure can be"),
    (.maximumKL, "nan", "--max-kl nan is not a number"), (.maximumKL, "inf", "--max-kl inf is not a number"),
    (
      .minimumAccuracy, "75",
      "--min-accuracy 75 is outside of what the figure can be; a percentage has its sign: 75%"
    ), (.minimumAccuracy, "%", "--min-accuracy % is not a number"),
    (.minimumCosine, "2", "--min-cosine 2 is outside of what the figure can be"),
    (
      .maximumPerplexityRise, "2",
      "--max-perplexity-rise 2 is a share of 1 or more; a percentage has its sign: 2%"
    ),
    (.maximumAccuracyDrop, "1", "--max-accuracy-drop 1 is a share of 1 or more; a percentage has its sign: 1%"),
  ])
  func limitsThatMeanNothingAreRefused(_ kind: Gate.Kind, _ text: String, _ message: String) {
    let problem = problem { _ = try Gate(kind, parsing: text) }
    #expect(problem?.code == .usageGate && problem?.message == message)
  }

  private func estimate(_ value: Double, _ lower: Double, _ upper: Double) -> Estimate {
    Estimate(value, interval: Interval(lower: lower, upper: upper, level: 0.95, method: .bootstrap))
  }

  private func outcome(_ kind: Gate.Kind, _ limit: Double, _ estimate: Estimate, strict: Bool = false) -> GateOutcome {
    GateOutcome(Gate(kind, limit, strict: strict), estimate, data: "data")
  }

  @Test func theFigureItselfIsJudged() {
    #expect(outcome(.maximumKL, 0.05, estimate(0.05, 0.04, 0.06)).holds)
    #expect(!outcome(.maximumKL, 0.05, estimate(0.051, 0.04, 0.06)).holds)
    #expect(outcome(.minimumSameTop, 0.9, estimate(0.9, 0.8, 0.95)).holds)
    #expect(!outcome(.minimumSameTop, 0.9, estimate(0.89, 0.8, 0.95)).holds)
    #expect(!outcome(.maximumKL, 0.05, Estimate(.nan)).holds && !outcome(.minimumCosine, 0, Estimate(.nan)).holds)
  }

  @Test func strictJudgesTheWorseEnd() {
    #expect(!outcome(.maximumKL, 0.05, estimate(0.045, 0.04, 0.06), strict: true).holds)
    #expect(outcome(.maximumKL, 0.05, estimate(0.045, 0.04, 0.05), strict: true).holds)
    #expect(!outcome(.minimumSameTop, 0.9, estimate(0.95, 0.89, 0.97), strict: true).holds)
    // Without an interval nothing is shown.
    #expect(!outcome(.maximumKL, 0.05, Estimate(0.01), strict: true).holds)
  }

  @Test func anIntervalAcrossTheLimitIsSaid() {
    #expect(outcome(.maximumKL, 0.05, estimate(0.045, 0.04, 0.06)).isCertain == false)
    #expect(outcome(.maximumKL, 0.05, estimate(0.045, 0.04, 0.049)).isCertain == true)
    #expect(outcome(.maximumKL, 0.05, estimate(0.06, 0.051, 0.07)).isCertain == true)
    #expect(outcome(.maximumKL, 0.05, Estimate(0.01)).isCertain == nil)
  }

  @Test func sentencesSayWhatCameOfIt() {
    #expect(
      outcome(.maximumKL, 0.05, estimate(0.0123, 0.011, 0.014)).sentence
        == "max-kl 0.05 holds on data: 0.012300, 95 % interval 0.011000 to 0.014000")
    #expect(
      outcome(.maximumPerplexityRise, 0.02, estimate(0.0386, 0.019, 0.05)).sentence
        == "max-perplexity-rise 2.00 % fails on data: 3.86 %, 95 % interval 1.90 % to 5.00 %; the interval reaches "
        + "across the limit")
  }

  @Test func aDropIsTheDifferenceTurned() {
    let outcome = outcome(.maximumAccuracyDrop, 0.02, estimate(-0.03, -0.05, -0.01))
    #expect(!outcome.holds && outcome.estimate == estimate(0.03, 0.01, 0.05))
  }
}

@Suite struct EvaluationReportTests {
  private let codec = ByteCodec(vocabulary: 211)
  private let set = text(String(repeating: "A report gathers what was measured. ", count: 6))
  private let items = (0..<8).map { ChoiceItem(context: "q\($0)", choices: ["x", "yy"], answer: $0 % 2) }

  private func comparison() throws -> EvaluationReport {
    let reference = TableModel.random(vocabulary: 211, seed: 1)
    let a = EvaluatedModel(name: "A", model: reference, codec: codec)
    let b = EvaluatedModel(name: "B", model: reference.moved(by: 0.3, seed: 2), codec: codec)
    return try withOptions { options in
      var report = EvaluationReport()
      let measured = try Divergence.measure(
        b, against: a, on: set, cut: TextProtocol(.windows(length: 16)), options: options)
      report.add(measured.divergence)
      report.add(measured.perplexity)
      let choices = (
        try MultipleChoice.measure(b, on: items, data: "items", options: options),
        try MultipleChoice.measure(a, on: items, data: "items", subject: .reference, options: options)
      )
      report.add(choices.0)
      report.add(choices.1)
      for pair in try PairedItems.pairs(choices.0, choices.1) { report.add(pair) }
      return report
    }
  }

  @Test func gatesAreJudgedOnTheCandidate() throws {
    var report = try comparison()
    try report.judge([Gate(.maximumKL, 100), Gate(.minimumAccuracy, 0), Gate(.maximumAccuracyDrop, 1)])
    #expect(report.passes && report.outcomes.count == 3)
    #expect(report.outcomes.map(\.data) == ["text.txt", "items", "items (acc)"])
    try report.judge([Gate(.maximumKL, 1e-9)])
    #expect(!report.passes && report.outcomes.last?.holds == false)
  }

  @Test func gatesWithoutTheirFigureAreRefusedAtOnce() throws {
    var report = try comparison()
    do {
      try report.judge([Gate(.minimumExactMatch, 0.5), Gate(.maximumKL, 1), Gate(.minimumCosine, 0.5)])
      Issue.record("accepted")
    } catch {
      #expect(
        error.all.map(\.message) == [
          "--min-exact-match limits a figure that was not measured",
          "--min-cosine limits a figure that was not measured",
        ])
      #expect(error.all.map(\.remedy) == ["It needs --answers.", "It needs compare with --sentences."])
    }
  }

  /// What a gate says it needs are options that there are.
  @Test(arguments: Gate.Kind.allCases) func aGateNamesItsOptions(kind: Gate.Kind) {
    let options = kind.needs.split { !"-abcdefghijklmnopqrstuvwxyz".contains($0) }.filter { $0.hasPrefix("--") }
    #expect(
      !options.isEmpty && Set(options).isSubset(of: ["--text", "--choices", "--answers", "--labels", "--sentences"]))
  }

  @Test func theTextOfAPerplexity() throws {
    let nothing = TableModel(table: [[Float]](repeating: [Float](repeating: 0, count: 8), count: 8))
    try withOptions { options in
      let result = try Perplexity.measure(
        EvaluatedModel(name: "base", model: nothing, codec: ByteCodec(vocabulary: 8)), on: text("twelve bytes"),
        cut: TextProtocol(.windows(length: 4)), options: options)
      #expect(
        result.text == """
          Perplexity: base on text.txt, exact mode
            windows of 4 tokens without overlap, each from position 0, tokens 2 to 4 scored, the rest dropped, nothing added
            1 document, 3 windows, 9 tokens scored; 95 % intervals: BCa bootstrap over windows, 200 draws, seed 0
              perplexity                              8.0000  8.0000 to 8.0000
              negative log-likelihood, nats a token   2.0794  2.0794 to 2.0794
              bits per byte                           3.0000  3.0000 to 3.0000
              next token right                       11.11 %  0 % to 33.33 %
              standard error, tokens as independent        0

          """)
    }
  }

  @Test func jsonHoldsEveryFigure() throws {
    var report = try comparison()
    try report.judge([Gate(.maximumKL, 100)])
    let json = try JSON(parsing: report.json.text())
    let results = try #require(json["results"]?.array)
    #expect(results.count == report.metrics.count && json["passes"] == true)
    for (result, metric) in zip(results, report.metrics) {
      #expect(result["metric"]?.string == type(of: metric).name)
      #expect(result["protocol"]?.string == metric.header.protocolText && result["modes"]?.array?.isEmpty == false)
      for figure in metric.figures {
        #expect(result["figures"]?[figure.key]?["value"]?.number == figure.estimate.value, "\(figure.key)")
        #expect(result["figures"]?[figure.key]?["lower"]?.number == figure.estimate.interval?.lower)
      }
      #expect(Set(metric.figures.map(\.key)).count == metric.figures.count, "keys are unique")
    }
    #expect(json["gates"]?.array?.first?["holds"] == true)
  }

  @Test func theTextHasEveryResultAndGate() throws {
    var report = try comparison()
    try report.judge([Gate(.maximumKL, 100)])
    let text = report.text
    for title in ["Divergence: B against A", "Perplexity, change: B against A", "Multiple choice: A on items"] {
      #expect(text.contains(title))
    }
    for metric in report.metrics {
      for sentence in metric.sentences { #expect(text.contains(sentence)) }
      #expect(text.contains(metric.header.protocolText))
    }
    #expect(text.hasSuffix(report.outcomes[0].sentence + "\n"))
  }
}
