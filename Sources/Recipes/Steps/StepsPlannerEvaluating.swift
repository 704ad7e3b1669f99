internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import EspalierNumerics

struct PlannedEvaluation {
  var evaluation: ModelEvaluation
  var model: StepModel
  var reference: StepModel?
  var gates: [Gate]
  /// Files that are measured on.
  var files: [String]
}

extension StepsPlanner {
  func evaluate(_ step: EvaluationStep, _ models: StepModels) throws(Problems) -> PlannedEvaluation {
    var problems = Problems()
    let texts = locate(step.text, &problems)
    let choices = locate(step.choices, &problems)
    let answers = locate(step.answers, &problems)
    let labels = locate(step.labels, &problems)
    let sentences = locate(step.sentences, &problems)
    var data: EvaluationData?
    if problems.all.isEmpty {
      do throws(Problems) {
        data = try EvaluationData(
          texts: texts, choices: choices, answers: answers, classified: labels, sentences: sentences)
      } catch { problems.all += error.all }
    }
    var reference: StepModel?
    do throws(Problems) { reference = try self.reference(step.reference, models) } catch {
      problems.all += error.all
    }
    if models.current == nil { problems.add(noModel) }
    var others = 0
    // The model's share of the memory is what the reference leaves.
    for model in [reference, models.current].compactMap({ $0 }) {
      problems.collect { () throws(Problem) in
        others += try run.network(of: model.checkpoint, beside: others).residentBytes
        _ = try ModelTokenizer(of: model.checkpoint)
      }
    }
    guard problems.all.isEmpty, let data, let model = models.current else { throw problems }
    let context = [model, reference].compactMap { $0?.checkpoint.contextLength }.min()
    let length = step.window ?? min(512, context ?? 512)
    var evaluation = ModelEvaluation(
      data: data, cut: TextProtocol(step.cut.cut(length: length, stride: step.stride), limit: step.limit), run: run,
      listener: listener)
    evaluation.answerTokens = step.answerTokens
    evaluation.bootstrap = Bootstrap(seed: step.seed)
    return PlannedEvaluation(
      evaluation: evaluation, model: model, reference: reference, gates: step.gates,
      files: texts + choices + answers + labels + sentences)
  }
}
