import ArgumentParser
import EspalierBasics
import EspalierRecipes

@main
struct Espalier: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "espalier",
    abstract: "Reduces and recombines trained models, and proves what was kept.",
    discussion: """
      EXAMPLES
        espalier merge recipe.yml -o out         merge models as a recipe says
        espalier merge recipe.yml -o out --plan  say what would be done, touch nothing
        espalier convert model.gguf -o model     write a model as a safetensors folder
        espalier inspect out                     what is in a model
        espalier diff base fine-tune             what a fine-tune touched
        espalier generate model --prompt "Once"  continue a text
        espalier evaluate model --text book.txt  perplexity and more, with intervals
        espalier calibrate model --text t -o s   what a text says of a model's inputs
        espalier prune model --sparsity 0.5 -o p remove weights, with every matrix's error
        espalier restructure model --method drop-layers --parameters 0.8 --text t -o s  fewer layers, channels or heads
        espalier fit model --size 80MB --text t -o s  bits, rank, sparsity and depth for a number of bytes
        espalier align b --to a -o b-aligned     bring a model into the order of another
        espalier barrier a b --text book.txt     the loss on the straight line between two models
        espalier renormalize merged --like a --like b --text t -o m  activations of a merged model set right
        espalier factorize model --rank 64 -o f  products of small matrices in place of large ones
        espalier quantize model --type Q4_K_M -o q.gguf  fewer bits, as llama.cpp runs them
        espalier run steps.yml -o small          merge, prune, quantize, measure, step by step
        espalier search-cut model --answers a -o c  the one matrix that is better cut to a low rank
        espalier compare small --against model   how far one model is from another
        espalier materialize small -o plain      write reduced forms as plain tensors
        espalier extract-lora ft --base b -o a   a fine-tune as a low-rank adapter
        espalier delta make ft --base b -o d.delta.safetensors  a fine-tune's change in few bytes
        espalier patch apply model d.delta.safetensors -o p  the same in a model's files, to be undone
        espalier basis make a b c --base b --rank 2 -o f.safetensors  several fine-tunes as a few tensors
        espalier store add shelf out             many models in a folder, what they share once
        espalier try wanda --explain             a method of reduction on one matrix
        espalier verify out                      check an output by its manifest
        espalier methods ties                    what a method does and takes
      """,
    version: MergeRun.version,
    subcommands: [
      Merge.self, Run.self, Prune.self, Factorize.self, Restructure.self, Fit.self, Groups.self,
      Align.self, Barrier.self, Renormalize.self,
      Quantize.self, Requantize.self, SearchCut.self, Sensitivity.self, Convert.self, Pack.self, Unpack.self,
      Store.self, Materialize.self, ExtractLora.self, Delta.self, Patch.self, Basis.self, Calibrate.self,
      Try.self, Inspect.self, Diff.self, Verify.self, Evaluate.self, Compare.self, Generate.self, Chat.self,
      Tokenize.self, Forward.self, Methods.self,
    ])

  /// Exit codes: 0 done, 1 failed, 2 bad usage or recipe, 3 a gate did not hold.
  static func main() {
    Machine.returnFreedMemory()
    Machine.turnSignalsIntoErrors()
    Machine.printLineByLine()
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch let failure as Failure {
      failure.print()
      exit(withCode: failure.code)
    } catch let code as ExitCode {
      exit(withCode: code.rawValue)
    } catch {
      let text = fullMessage(for: error)
      let code = exitCode(for: error)
      if code == .success {
        print(text)
        exit(withCode: 0)
      }
      Machine.writeToStandardError(text + "\n")
      exit(withCode: code == .validationFailure ? 2 : code.rawValue)
    }
  }

  private static func exit(withCode code: Int32) -> Never { Machine.exit(code) }
}
